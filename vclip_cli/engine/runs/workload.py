"""What each process of a run would do, and how long that would take. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Workload:
    """videos: of each process, by rank, those that are not yet done; rate: videos a second of one
    process, None where nobody has measured it."""

    videos: Sequence[int]
    rate: float | None = None

    @property
    def seconds(self) -> float | None:
        """Until the process with the most to do has done it."""
        return max(self.videos) / self.rate if self.rate else None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "processes": len(self.videos),
            "videos_per_process": list(self.videos),
            "videos_per_second_of_one": self.rate,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        fewest, most = min(self.videos), max(self.videos)
        each = f"{most:,} each" if fewest == most else f"{fewest:,} to {most:,} each"
        count = len(self.videos)
        text = f"{count:,} processes, {each}" if count > 1 else f"one process, {most:,} clips"
        if self.seconds is None or self.rate is None:
            return text
        return f"{text}: {_duration(self.seconds)} at {self.rate:.3g} a second and process"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
