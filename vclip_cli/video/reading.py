"""The two calls that read frames from a video file, whichever decoder does it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vclip_cli.video.clip import DecodedClip
from vclip_cli.video.decoders import known_decoder
from vclip_cli.video.opening import existing_file
from vclip_cli.video.plan import Plan
from vclip_cli.video.sampling import midpoint_indices

if TYPE_CHECKING:
    from vclip_cli.video.pictures import EachFrame


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
    indices_of: Plan,
    decoder: str = "exact",
    *,
    allow_single: bool = False,
    each: EachFrame | None = None,
) -> DecodedClip:
    """The frames that a plan chooses, and what was met while reading them.

    Args:
        path: a video file.
        indices_of: the plan, from the frame count n to frame numbers in 0..n-1 in any order and
            shape, repeats allowed; `Sampling(...).indices` is one. It may be asked twice, when a
            damaged file turns out to have fewer frames than it has packets.
        decoder: `exact`, or `decord` to reproduce published pipelines.
        allow_single: take videos of a single frame as well.
        each: done to every frame (H, W, 3) once it is decoded; what it gives is kept. A function
            that makes frames smaller saves the memory for all of them at source size.

    Raises VideoError, as `read_frames` does, and UsageError when the decoder is not known.
    """
    if known_decoder(decoder) == "decord":
        from vclip_cli.video.published import decode_published as decode_with
    else:
        from vclip_cli.video.exact import decode_exact as decode_with
    return decode_with(existing_file(path), indices_of, allow_single=allow_single, each=each)
