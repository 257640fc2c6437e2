"""decord, the reader of the published pipelines: kept to reproduce them, wrong frames included.

It reads from a path: from bytes in memory decord crashes on cut-off files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, VideoError
from vclip_cli.video.decoded import Damage, DecodedVideo, EachFrame, Plan, planned, reason


def decode_published(
    path: Path, plan: Plan, *, allow_single: bool = False, each: EachFrame | None = None
) -> DecodedVideo:
    """Decode with decord on one thread. See `vclip_cli.video.decode`.

    The result is not checked: on open GOPs, edit lists, AVI with B-frames and MPEG-TS decord's
    frames or its frame count are wrong, and the published numbers were made with them.
    """
    decord = load_decord()
    with decord_errors(path):
        reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        count, fps = len(reader), float(reader.get_avg_fps())
    indices = planned(plan, count, path, allow_single)
    with decord_errors(path):
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


def load_decord() -> Any:
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
def decord_errors(path: Path) -> Iterator[None]:
    """Turn any error, decord's own or a built-in one, into a VideoError that names the file."""
    try:
        yield
    except Exception as error:  # decord raises its own class and several built-in ones
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
