"""What every decoder takes and gives: a file, a plan of the wanted frames, and their pixels."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vclip_cli.common.errors import UsageError, VideoError

Plan = Callable[[int], ArrayLike]
"""From the frame count n of a video to the wanted frame numbers in 0..n-1."""
EachFrame = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
"""Applied to every decoded frame (H, W, 3) before it is kept."""


@dataclass(frozen=True)
class Damage:
    """Signs of a damaged video, counted while it was decoded.

    corrupt_frames: frames that the decoder returned but marked as corrupt.
    failed_packets: packets that could not be read or decoded.
    repeated_frames: frames at the end that equal the one before, because the decoder had no more.
    """

    corrupt_frames: int = 0
    failed_packets: int = 0
    repeated_frames: int = 0

    def __bool__(self) -> bool:
        return any(self.as_dict().values())

    def as_dict(self) -> dict[str, int]:
        """A JSON-able form, for records."""
        return asdict(self)


@dataclass(frozen=True)
class DecodedVideo:
    """The wanted frames of one video.

    frames: (N, H, W, 3) uint8 RGB at source size, display rotation applied.
    indices: (N,) the frame numbers that were asked for, in the order asked.
    frame_count: n, how many frames the video has.
    rotation: the applied display rotation in degrees counter-clockwise (0, 90, 180, 270);
      None where the decoder rotates but does not report it.
    fps, duration_seconds: as the container states them, None where it does not.
    """

    frames: NDArray[np.uint8]
    indices: NDArray[np.int64]
    frame_count: int
    decoder: str
    rotation: int | None = 0
    fps: float | None = None
    duration_seconds: float | None = None
    damaged: Damage = field(default_factory=Damage)


def planned(plan: Plan, frame_count: int, path: Path, allow_single: bool) -> NDArray[np.int64]:
    """The frame numbers (N,) that `plan` wants of a video with `frame_count` frames.

    Raises VideoError as `check_frame_count` does, and when the plan names frames outside the
    video; UsageError when it names none.
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
    """Raise VideoError when a video has no frame, or a single one and that is not allowed.

    A JPEG with a video's file name opens as a video of one frame.
    """
    if frame_count < 1:
        raise VideoError("holds no frame that can be decoded", where=str(path))
    if frame_count == 1 and not allow_single:
        raise VideoError(
            "holds a single frame: a still image, or a video cut off after its first frame",
            where=str(path),
            expected="at least 2 frames",
        )


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path of a readable file that is not empty.

    Raises VideoError when it is missing, a folder, not permitted or empty.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise VideoError("no such video file", where=str(path))
        if not path.is_file():
            raise VideoError("is not a file", where=str(path), expected="a video file")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise VideoError("the video file is empty", where=str(path))
    except (OSError, ValueError) as error:
        found = f"the video file cannot be read: {reason(error)}"
        raise VideoError(found, where=str(path)) from error
    return path


def reason(error: BaseException) -> str:
    """The message of a library's error on one line, or the error's name where it has none."""
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(words.split()) or type(error).__name__
