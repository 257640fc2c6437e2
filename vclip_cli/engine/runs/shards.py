"""How work is divided among processes, and how much each would do. Loads no torch.

The processes are those of one launch, or the shards of a scheduler's job array. `accelerate launch`
and `torchrun` tell each process its rank in the environment. Processes exchange nothing: they share
the folder that they write to.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vclip_cli.common.errors import DataError, UsageError

SECONDS_BETWEEN_LOOKS = 0.2
Piece = TypeVar("Piece")


@dataclass(frozen=True)
class Shard:
    """Which of `count` processes this is, from 0; manual: a person merges the shards later."""

    index: int = 0
    count: int = 1
    manual: bool = False

    def of(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces of work of this process: every `count`-th, so that all take about as long."""
        return list(pieces[self.index :: self.count])

    @property
    def is_main(self) -> bool:
        """Whether this process writes the result of all processes."""
        return self.index == 0 and not self.manual

    @property
    def prints(self) -> bool:
        """Whether this process prints: rank 0 of a launch, and every shard of a job array."""
        return self.index == 0 or self.manual

    @property
    def all_shards(self) -> list[Shard]:
        """All shards of this division, this one among them."""
        return [Shard(index, self.count) for index in range(self.count)]

    def __str__(self) -> str:
        """As file and folder names have it: `2-of-3`."""
        return f"{self.index + 1}-of-{self.count}"


def launched_shard() -> Shard:
    """This process's rank in its launch; the only process without one. Raises UsageError."""
    rank, count = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise UsageError(
            "the launcher's environment makes no sense",
            found=f"RANK={rank!r}, WORLD_SIZE={count!r}",
            expected="a rank below the world size",
        )
    return Shard(int(rank), int(count))


def own_shard(named: str | None) -> Shard:
    """The shard that `--shard` names, else this process's rank in its launch. Raises UsageError.

    named: such as `2/3`, the second of three.
    """
    if named is None:
        return launched_shard()
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", named.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(
            f"--shard {named!r}", expected="i/n with 1 <= i <= n, such as 1/3, 2/3 and 3/3"
        )
    return Shard(int(found[1]) - 1, int(found[2]), manual=True)


def wait_until(ready: Callable[[], bool]) -> None:
    """Wait for what other processes write.

    There is no time limit: the launcher ends all processes when one of them fails, and a signal
    ends the wait.
    """
    while not ready():
        time.sleep(SECONDS_BETWEEN_LOOKS)


def require_all_shards(folder: Path, notes: str) -> int:
    """Check that all shards are finished and return their number.

    notes: the pattern of the files that finished shards leave in the folder; `shard-2-of-3` stands
    in their paths. Raises DataError where one is missing, or where shards of different divisions
    lie in the folder.
    """
    names = [str(path.relative_to(folder)) for path in folder.glob(notes)]
    found = [re.match(r"shard-(\d+)-of-(\d+)\b", name) for name in names]
    finished = {(int(part[1]), int(part[2])) for part in found if part is not None}
    counts = sorted({count for _, count in finished})
    if len(counts) > 1:
        each = [f"{sum(of == count for _, of in finished)} of {count}" for count in counts]
        raise DataError(
            "shards of different divisions overlap",
            where=str(folder),
            found=" and ".join(each),
            hint="start again in an empty folder, with one number of shards",
        )
    count = counts[0] if counts else 0
    missing = [f"{n}/{count}" for n in range(1, count + 1) if (n, count) not in finished]
    if missing or not counts:
        raise DataError(
            "not all shards are there to be merged",
            where=str(folder),
            found=f"{len(finished)} of {count} shards" if counts else "no shard",
            expected=f"also --shard {', '.join(missing)}" if missing else "every shard of the run",
            hint="run the missing shards with the same options and the same --out",
        )
    return count


# How long it would take ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """videos: how many each rank has left to do; rate: videos per second of one process, None if
    not measured."""

    videos: Sequence[int]
    rate: float | None = None

    @property
    def seconds(self) -> float | None:
        """Until the process with the most videos is done."""
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
        text = f"{count:,} processes, {each}" if count > 1 else f"one process, {most:,} videos"
        if self.seconds is None or self.rate is None:
            return text
        return f"{text}: {_duration(self.seconds)} at {self.rate:.3g} a second and process"


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.1f} seconds"
