"""What decoding gives: frames, and what was met on the way."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Damage:
    """Signs of a damaged video, counted while it was decoded.

    corrupt_frames: pictures that the decoder marked as corrupt, but gave.
    failed_packets: packets that could not be read or decoded.
    repeated_frames: frames at the end that repeat the one before, because the decoder had no more.
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
class DecodedClip:
    """The wanted frames of one video.

    frames: (N, H, W, 3) uint8 RGB at source size, display rotation applied.
    indices: (N,) the frame numbers that were asked for, in the order asked.
    frame_count: n, how many frames the video has.
    rotation: the display rotation that was applied, in degrees counter-clockwise (0, 90, 180, 270);
      None where the decoder rotates without saying so.
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
