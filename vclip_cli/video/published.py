"""decord, the reader of the published pipelines: kept to reproduce them, wrong frames included.

`read_reference` is the reference of `vclip bench`: decord and OpenCV as those pipelines call them.
Both read from a path: from bytes in memory decord crashes on cut-off files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, VideoError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.video.decoded import Damage, DecodedVideo, EachFrame, Plan, planned, reason
from vclip_cli.video.preprocess import resize, resized_size
from vclip_cli.video.sampling import midpoint_indices


def decode_published(
    path: Path, plan: Plan, *, allow_single: bool = False, each: EachFrame | None = None
) -> DecodedVideo:
    """Decode with decord on one thread. See `vclip_cli.video.decode`.

    The result is not checked: on open GOPs, edit lists, AVI with B-frames and MPEG-TS decord's
    frames or its frame count are wrong, and the published numbers were made with them.
    """
    decord = _load_decord()
    with _decord_errors(path):
        reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        count, fps = len(reader), float(reader.get_avg_fps())
    indices = planned(plan, count, path, allow_single)
    with _decord_errors(path):
        frames = reader.get_batch(indices.tolist()).asnumpy()
    repeated = _repeated_at_the_end(frames, indices)
    return DecodedVideo(
        frames=frames if each is None else np.stack([each(frame) for frame in frames]),
        indices=indices,
        frame_count=count,
        decoder="decord",
        rotation=None,
        fps=fps or None,
        duration_seconds=count / fps if fps else None,
        damaged=Damage(repeated_frames=repeated),
    )


def read_reference(path: Path, frames: int, short_side: int) -> list[NDArray[np.uint8]]:
    """T frames as mmaction2, X-CLIP and ViFi-CLIP read them.

    decord's VideoReader on one thread, `get_batch` at full size, then `shrink`. Raises VideoError,
    UsageError without decord.
    """
    decord = _load_decord()
    with _decord_errors(path):
        reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        pictures = reader.get_batch(midpoint_indices(len(reader), frames).tolist()).asnumpy()
    return shrink(pictures, short_side)


def shrink(pictures: NDArray[np.uint8], short_side: int) -> list[NDArray[np.uint8]]:
    """Frames (T, H, W, 3), each resized by OpenCV's bilinear."""
    spec = Preprocessing(size=short_side, resize_to=short_side, interpolation="cv2-bilinear")
    height, width = resized_size(pictures.shape[1], pictures.shape[2], spec)
    return [resize(picture, height, width, spec.interpolation) for picture in pictures]


def _load_decord() -> Any:
    """decord without its log. Raises UsageError where it is not installed."""
    try:
        import decord
    except ImportError as error:
        raise UsageError(
            "the decoder 'decord' is not installed",
            found=reason(error),
            hint="it has wheels for x86-64 Linux and Windows only; use the decoder 'exact'",
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


@contextmanager
def _decord_errors(path: Path) -> Iterator[None]:
    """Turn any error, decord's own or a built-in one, into a VideoError that names the file."""
    try:
        yield
    except Exception as error:
        first_line = reason(error).split(" Stack trace")[0][:200]
        raise VideoError(f"decord cannot read it: {first_line}", where=str(path)) from error


def _repeated_at_the_end(frames: NDArray[np.uint8], indices: NDArray[np.int64]) -> int:
    """How many of the last frames are equal, pixel for pixel, to the frame before them."""
    _, rows = np.unique(indices, return_index=True)
    repeated = 0
    for row, before in zip(rows[:0:-1], rows[-2::-1], strict=True):
        if not np.array_equal(frames[row], frames[before]):
            break
        repeated += 1
    return repeated
