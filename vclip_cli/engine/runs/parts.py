"""Work in parts: a fixed number of videos each, one file each. Loads no torch.

A killed run continues after its last finished part. Several processes each do some of the parts.
Batches never cross parts, so the result is the same to the byte in all these cases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import write_tensors
from vclip_cli.common.safe_readers import open_tensors
from vclip_cli.engine.runs.shards import Shard, require_all_shards

PART_SIZE = 64
Result = TypeVar("Result")


@dataclass(frozen=True)
class Division:
    """How the listed videos are cut into parts, and the parts into batches, by position."""

    videos: int
    batch_size: int

    @property
    def size(self) -> int:
        """Videos per part: at least 64, in whole batches."""
        return -(-PART_SIZE // self.batch_size) * self.batch_size

    @property
    def starts(self) -> range:
        """The first position of every part."""
        return range(0, self.videos, self.size)

    def part(self, start: int) -> range:
        """The positions of the part that begins at `start`."""
        return range(start, min(start + self.size, self.videos))

    def batches(self, starts: Iterable[int] | None = None) -> list[range]:
        """The batches of some parts, in order; None for those of all."""
        parts = [self.part(start) for start in (self.starts if starts is None else starts)]
        step = self.batch_size
        return [part[first : first + step] for part in parts for first in range(0, len(part), step)]

    def ends_part(self, batch: Sequence[int]) -> bool:
        """Whether a batch is the last one of its part."""
        after = batch[-1] + 1
        return after % self.size == 0 or after == self.videos

    def by_part(
        self, starts: Sequence[int], results: Iterable[Result]
    ) -> Iterator[tuple[int, list[Result]]]:
        """Group results, one per batch, by part."""
        left = iter(results)
        for start in starts:
            batches = -(-len(self.part(start)) // self.batch_size)
            yield start, [next(left) for _ in range(batches)]
        assert next(left, None) is None  # the last batch was that of the last part

    def positions_of(self, shard: Shard) -> list[int]:
        """The positions that a shard does, in order."""
        return [position for start in shard.of(self.starts) for position in self.part(start)]

    def videos_per_process(self, count: int) -> list[int]:
        """How many videos each of `count` processes does."""
        return [len(self.positions_of(shard)) for shard in Shard(count=count).all_shards]


@dataclass(frozen=True)
class FailedVideo:
    """A listed video that could not be read, and why."""

    video: str
    path: str
    reason: str


@dataclass(frozen=True)
class Scores:
    """scores: float32 (N,K) of the readable videos, in list order.

    damage: signs of damage, by video id; sound videos are left out. fresh: videos that this pass
    encoded; latency: their seconds per video in the model, the median over batches, None without
    any; processes: how many shared the pass.
    """

    videos: list[str]
    scores: np.ndarray
    failures: list[FailedVideo]
    damage: dict[str, dict[str, int]] = field(default_factory=dict)
    fresh: int = 0
    latency: float | None = None
    processes: int = 1


def join(parts: Sequence[Scores]) -> Scores:
    """Several parts as one, in order."""
    scored = [part.scores for part in parts if part.videos]
    return Scores(
        videos=[video for part in parts for video in part.videos],
        scores=np.concatenate(scored) if scored else np.zeros((0, 0), np.float32),
        failures=[failure for part in parts for failure in part.failures],
        damage={video: counts for part in parts for video, counts in part.damage.items()},
        fresh=sum(part.fresh for part in parts),
    )


def part_path(folder: Path, start: int) -> Path:
    """The file of the part that begins at a position."""
    return folder / f"{start:08d}.safetensors"


def write_part(folder: Path, start: int, part: Scores) -> None:
    """Write a part, whole or not at all. Raises StorageError."""
    facts = {
        "videos": json.dumps(part.videos),
        "failures": json.dumps([asdict(failure) for failure in part.failures]),
        "damage": json.dumps(part.damage),
    }
    write_tensors(part_path(folder, start), {"scores": part.scores.astype(np.float32)}, facts)


def read_part(folder: Path, start: int) -> Scores | None:
    """Read a part; None if it does not exist. Raises DataError for a damaged part."""
    path = part_path(folder, start)
    if not path.is_file():
        return None
    damaged = "a part of the interrupted run is damaged"
    with open_tensors(path, damaged, "delete the file, or start again with --no-resume") as stream:
        facts, scores = stream.metadata(), stream.get_tensor("scores")
        failures = [FailedVideo(**values) for values in json.loads(facts["failures"])]
        damage = json.loads(facts.get("damage", "{}"))
        videos = json.loads(facts["videos"])
        texts = isinstance(videos, list) and all(isinstance(video, str) for video in videos)
        if not texts or scores.ndim != 2 or scores.dtype != np.float32:
            raise ValueError("it holds other things than videos and their scores")
        if len(videos) != len(scores) or not isinstance(damage, dict):
            raise ValueError(f"{len(scores)} rows of scores for {len(videos)} videos")
        return Scores(videos, scores, failures, damage)


def merged_shards(folder: Path, starts: Sequence[int], finished: dict[int, Scores]) -> int:
    """How many shards the parts of a pass came from.

    Raises DataError where a shard or a part is missing, or where different divisions overlap.
    """
    count = require_all_shards(folder, "shard-*-of-*.json")
    if missing := len(set(starts) - set(finished)):
        raise DataError(
            "not all parts are there to be merged",
            where=str(folder),
            found=f"{len(finished)} of {len(starts)} parts",
            expected=f"{missing} more",
            hint="run every shard again with the same options and the same --out",
        )
    return count
