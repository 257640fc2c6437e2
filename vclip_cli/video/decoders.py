"""Reading frames from a video file, and the decoders that can do it.

Importing this file loads no decoder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.video.decoded import DecodedVideo, EachFrame, Plan, existing_file
from vclip_cli.video.sampling import midpoint_indices

_LIBRARY = {"exact": "av", "decord": "decord"}
_MODE = {
    "exact": "packet-selective decoding, frames told by pts, else counted; one thread",
    "decord": "get_batch from a path; one thread",
}
DECODERS = tuple(_LIBRARY)


def read_frames(
    path: str | os.PathLike[str],
    frames: int = 8,
    decoder: str = "exact",
    *,
    indices: Sequence[int] | None = None,
    allow_single: bool = False,
) -> NDArray[np.uint8]:
    """The frames at the segment midpoints floor(i·n/T + n/(2T)), or at `indices`.

    Returns (T, H, W, 3) uint8 RGB at source size, display rotation applied. Raises VideoError when
    the file is no video, is damaged beyond reading, or has fewer than 2 frames (1 frame is enough
    with `allow_single`).
    """

    def plan(count: int) -> Sequence[int] | NDArray[np.int64]:
        return midpoint_indices(count, frames) if indices is None else indices

    return decode(path, plan, decoder, allow_single=allow_single).frames


def decode(
    path: str | os.PathLike[str],
    plan: Plan,
    decoder: str = "exact",
    *,
    allow_single: bool = False,
    each: EachFrame | None = None,
) -> DecodedVideo:
    """The frames that a plan chooses, with the facts and the damage found while reading them.

    Args:
        path: a video file.
        plan: from the frame count n to frame numbers in 0..n-1 in any order and shape, repeats
            allowed; `Sampling(...).indices` is one. It is called a second time when a damaged file
            turns out to have fewer frames than packets.
        decoder: `exact`, or `decord` to reproduce published pipelines.
        allow_single: accept videos of a single frame.
        each: applied to every frame (H, W, 3) after decoding; its result is kept. A function that
            makes frames smaller avoids holding all of them at source size.

    Raises VideoError, as `read_frames` does, and UsageError for an unknown decoder.
    """
    if known_decoder(decoder) == "decord":
        from vclip_cli.video.published import decode_published as decode_with
    else:
        from vclip_cli.video.exact import decode_exact as decode_with
    return decode_with(existing_file(path), plan, allow_single=allow_single, each=each)


def known_decoder(name: str) -> str:
    """The name itself. Raises UsageError, with near misses, when there is no such decoder."""
    if name not in _LIBRARY:
        raise UsageError(f"unknown decoder {name!r}", hint=did_you_mean(name, DECODERS))
    return name


def decoder_versions() -> dict[str, str | None]:
    """Decoder to the version of its library, None where that is not installed."""
    return {name: _installed_version(library) for name, library in _LIBRARY.items()}


def describe_decoder(name: str) -> dict[str, str | None]:
    """What a record holds about a decoder: name, library, version, mode.

    The version of PyAV includes that of its FFmpeg. Raises UsageError for an unknown decoder.
    """
    library = _LIBRARY[known_decoder(name)]
    found = _installed_version(library)
    if found is not None and library == "av":
        import av

        found = f"{found} (FFmpeg {av.ffmpeg_version_info})"
    return {"name": name, "library": library, "version": found, "mode": _MODE[name]}


def _installed_version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
