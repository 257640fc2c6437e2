"""A plan names the wanted frames as a function of how many there are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vclip_cli.common.errors import UsageError, VideoError

Plan = Callable[[int], ArrayLike]


def planned(plan: Plan, frame_count: int, path: Path, allow_single: bool) -> NDArray[np.int64]:
    """The frame numbers that `plan` wants of a video of `frame_count` frames: shape (N,).

    Raises VideoError as `check_frame_count` does, and when the plan names frames that are not
    there; UsageError when it names none.
    """
    check_frame_count(frame_count, path, allow_single)
    indices = np.asarray(plan(frame_count), dtype=np.int64).ravel()
    if not indices.size:
        raise UsageError("the sampling plan names no frame")
    if indices.min() < 0 or indices.max() >= frame_count:
        raise VideoError(
            "frames outside the video were asked for",
            where=str(path),
            found=f"frames {indices.min()} to {indices.max()}",
            expected=f"0 to {frame_count - 1}",
        )
    return indices


def check_frame_count(frame_count: int, path: Path, allow_single: bool) -> None:
    """Raises VideoError when a video has no frame, or one only and that is not allowed.

    A JPEG under a video's name opens as a video of one frame.
    """
    if frame_count < 1:
        raise VideoError("holds no frame that can be decoded", where=str(path))
    if frame_count == 1 and not allow_single:
        raise VideoError(
            "holds a single frame: a still image, or a video cut off after its first frame",
            where=str(path),
            expected="at least 2 frames",
        )
