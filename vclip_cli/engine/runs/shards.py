"""How work is divided among processes: those of one launch, or the shards of a scheduler's array.

`accelerate launch` and `torchrun` tell each process its rank in the environment. Videos are cut
into parts, and each part belongs to one process: nothing is padded, repeated or exchanged; what the
processes share is the folder that they write parts into.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from vclip_cli.common.errors import UsageError

SECONDS_BETWEEN_LOOKS = 0.2
Part = TypeVar("Part")


@dataclass(frozen=True)
class Shard:
    """Which of `count` processes this is, from 0; `apart`: a shard that is merged by hand."""

    index: int = 0
    count: int = 1
    manual: bool = False

    def of(self, parts: Sequence[Part]) -> list[Part]:
        """The parts that this process does: every `count`-th, so that all end at about one time."""
        return list(parts[self.index :: self.count])

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all of them have done, and speaks for them."""
        return self.index == 0 and not self.manual

    @property
    def prints(self) -> bool:
        """Whether this process tells the person anything: every shard has a person of its own."""
        return self.index == 0 or self.manual

    @property
    def all_shards(self) -> list[Shard]:
        """All shares of the division that this one is of."""
        return [Shard(index, self.count) for index in range(self.count)]


def read_shard(text: str) -> Shard:
    """`2/3`, the second of three, to a share. Raises UsageError."""
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UsageError(
            f"--shard {text!r}", expected="i/n with 1 <= i <= n, such as 1/3, 2/3 and 3/3"
        )
    return Shard(int(found[1]) - 1, int(found[2]), manual=True)


def launched_shard() -> Shard:
    """What the launcher says of this process; one of one without a launcher. Raises UsageError."""
    rank, count = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
        raise UsageError(
            "the launcher's environment makes no sense",
            found=f"RANK={rank!r}, WORLD_SIZE={count!r}",
            expected="a rank below the world size",
        )
    return Shard(int(rank), int(count))


def own_shard(named: str | None) -> Shard:
    """The shard that `--shard` names, else this process's rank in its launch. Raises UsageError."""
    return read_shard(named) if named is not None else launched_shard()


def wait_until(ready: Callable[[], bool]) -> None:
    """Wait for what other processes write.

    There is no time limit: the launcher ends all processes when one of them fails, and a signal
    ends the waiting.
    """
    while not ready():
        time.sleep(SECONDS_BETWEEN_LOOKS)
