"""decord, the reader of the published pipelines: kept to reproduce them, wrong frames included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, VideoError
from vclip_cli.video.clip import Damage, DecodedClip
from vclip_cli.video.opening import reason
from vclip_cli.video.pictures import EachFrame
from vclip_cli.video.plan import Plan, planned


def decode_published(
    path: Path, plan: Plan, *, allow_single: bool = False, each: EachFrame | None = None
) -> DecodedClip:
    """Decode with decord on one thread. See `vclip_cli.video.reading.decode`.

    From a path and never from bytes in memory, from which decord crashes on cut-off files. What it
    returns is not checked: on open GOPs, edit lists, AVI with B-frames and MPEG-TS its frames or
    its frame count are wrong, and the published numbers were made with them.
    """
    decord = load_decord()
    try:
        reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        count, fps = len(reader), float(reader.get_avg_fps())
    except Exception as error:  # decord raises its own errors, and plain ones of many kinds
        raise unreadable(path, error) from error
    indices = planned(plan, count, path, allow_single)
    try:
        frames = reader.get_batch(indices.tolist()).asnumpy()
    except Exception as error:  # as above
        raise unreadable(path, error) from error
    repeated = _repeated_at_the_end(frames, indices)
    return DecodedClip(
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
    """decord, told to be quiet. Raises UsageError where it is not installed."""
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


def _repeated_at_the_end(frames: NDArray[np.uint8], indices: NDArray[np.int64]) -> int:
    """How many of the last frames asked for are, pixel for pixel, the one asked for before."""
    _, rows = np.unique(indices, return_index=True)
    repeated = 0
    for row, before in zip(rows[:0:-1], rows[-2::-1], strict=True):
        if not np.array_equal(frames[row], frames[before]):
            break
        repeated += 1
    return repeated


def unreadable(path: Path, error: Exception) -> VideoError:
    """What decord raised, as an error that names the file."""
    first_line = reason(error).split(" Stack trace")[0][:200]
    return VideoError(f"decord cannot read it: {first_line}", where=str(path))
