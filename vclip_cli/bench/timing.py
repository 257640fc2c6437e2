"""Wall-clock and CPU seconds, round by round, and the medians of their paired ratios."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, TypeVar

import torch

from vclip_cli.engine.loading.workers import AHEAD

Item = TypeVar("Item")


@dataclass(frozen=True)
class Seconds:
    """How long something took: by the clock, and in CPU time of this process."""

    wall: float
    cpu: float


def timed(call: Callable[[], object], device: torch.device | None = None) -> Seconds:
    """The time of one call, with the work on the device finished."""
    _finish(device)
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    _finish(device)
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def _finish(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


VIDEOS_PER_WORKER = 64
"""Videos read for each worker: few of them are finished when the measurement starts."""


def repeated(videos: Sequence[Item], workers: int, batch_size: int) -> list[Item]:
    """The videos again and again, until the start of the workers has no weight.

    Without workers they are returned once.
    """
    wanted = max(VIDEOS_PER_WORKER * workers, 4 * batch_size) if workers else 1
    return list(videos) * max(1, -(-wanted // len(videos)))


@dataclass
class Marks:
    """How many videos had passed at which times: (videos, wall clock, CPU time)."""

    passed: list[tuple[int, float, float]] = field(default_factory=list)

    def add(self, count: int) -> None:
        """Note that `count` more videos have passed."""
        before = self.passed[-1][0] if self.passed else 0
        self.passed.append((before + count, time.perf_counter(), time.process_time()))

    @contextlib.contextmanager
    def progress(
        self, description: str, total: int, done: int = 0
    ) -> Iterator[Callable[[int], None]]:
        """A progress that is noted and not shown."""
        yield self.add

    def seconds_for(self, videos: int, workers: int) -> Seconds | None:
        """The time of `videos` once all workers had started; None without workers."""
        if not workers:
            return None
        begun = next((m for m in self.passed if m[0] >= AHEAD * workers), self.passed[0])
        last = self.passed[-1]
        share = videos / max(last[0] - begun[0], 1)
        return Seconds((last[1] - begun[1]) * share, (last[2] - begun[2]) * share)


@dataclass
class Part:
    """One part of the work, measured in rounds over the same number of videos.

    rounds: the time of each round; flops: operations per video, None where they are not counted;
    remark: why it was not measured.
    """

    name: str
    videos: int = 0
    rounds: list[Seconds] = field(default_factory=list)
    flops: float | None = None
    remark: str = ""

    @property
    def seconds_per_video(self) -> float | None:
        """Median over the rounds, by the clock; None where nothing was measured."""
        if not self.rounds:
            return None
        return median(entry.wall for entry in self.rounds) / self.videos

    @property
    def gigaflops(self) -> float | None:
        """Billions of operations per second."""
        seconds = self.seconds_per_video
        return self.flops / seconds / 1e9 if self.flops and seconds else None

    def over(self, reference: Part | None) -> tuple[float, float] | None:
        """The speed over the reference's: medians of paired ratios, by wall clock and CPU time."""
        if reference is None or reference is self or not self.rounds or not reference.rounds:
            return None
        pairs = list(zip(reference.rounds, self.rounds, strict=True))
        return _ratio([(a.wall, b.wall) for a, b in pairs]), _ratio(
            [(a.cpu, b.cpu) for a, b in pairs]
        )

    def as_dict(self, reference: Part | None = None) -> dict[str, Any]:
        """A JSON-able form with every round."""
        seconds, ratios = self.seconds_per_video, self.over(reference)
        return {
            "part": self.name,
            "videos": self.videos,
            "videos_per_second": 1 / seconds if seconds else None,
            "seconds_per_video": seconds,
            "over_reference": None if ratios is None else {"wall": ratios[0], "cpu": ratios[1]},
            "gigaflops_per_second": self.gigaflops,
            "remark": self.remark or None,
            "rounds": [asdict(entry) for entry in self.rounds],
        }


def _ratio(pairs: Sequence[tuple[float, float]]) -> float:
    return median(slow / max(fast, 1e-9) for slow, fast in pairs)
