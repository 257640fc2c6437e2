"""The parts of a scoring pass: a fixed number of videos each, one file each.

A killed run goes on after its last whole part, several processes each do some of the parts, and
since batches never cross parts, the outcome is the same to the byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import whole_file, write_json
from vclip_cli.engine.loading.videos import Failure, VideoBatch
from vclip_cli.engine.runs.shards import Shard

PART_SIZE = 64


@dataclass(frozen=True)
class Scores:
    """scores: float32 (N,K) of the videos that could be read, in the order they were listed.

    damage: signs of damage met in a video, by its id, of those that show any; fresh: how many of
    the videos this pass encoded; latency: seconds that one of these spent in the model, the median
    over batches, None without any; processes: among how many the pass was divided.
    """

    videos: list[str]
    scores: np.ndarray
    failures: list[Failure]
    damage: dict[str, dict[str, int]] = field(default_factory=dict)
    fresh: int = 0
    latency: float | None = None
    processes: int = 1


@dataclass
class GrowingPart:
    """A part that is being scored."""

    videos: list[str] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    damage: dict[str, dict[str, int]] = field(default_factory=dict)
    fresh: int = 0

    def add(self, videos: Sequence[str], batch: VideoBatch) -> None:
        """Count in the videos of a batch that were read, and what it says of the others."""
        self.videos += videos
        self.failures += batch.failures
        self.damage |= batch.damage

    def close(self) -> Scores:
        """The part as it is now."""
        scores = np.concatenate(self.scores) if self.scores else np.zeros((0, 0), np.float32)
        return Scores(self.videos, scores, self.failures, self.damage, self.fresh)


def part_size(batch_size: int) -> int:
    """Videos a part: at least 64, and whole batches."""
    return -(-PART_SIZE // batch_size) * batch_size


def videos_per_process(videos: int, batch_size: int, count: int) -> list[int]:
    """How many of the videos of a pass each of `count` processes scores."""
    size = part_size(batch_size)
    parts = [min(size, videos - start) for start in range(0, videos, size)]
    return [sum(Shard(index, count).of(parts)) for index in range(count)]


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


def part_path(parts: Path, start: int) -> Path:
    """The file of the part that begins with a position."""
    return parts / f"{start:08d}.safetensors"


def write_part(parts: Path, start: int, part: Scores) -> None:
    """Write a part, whole or not at all. Raises StorageError."""
    from safetensors.numpy import save_file

    facts = {
        "videos": json.dumps(part.videos),
        "failures": json.dumps([vars(failure) for failure in part.failures]),
        "damage": json.dumps(part.damage),
    }
    with whole_file(part_path(parts, start)) as temporary:
        save_file({"scores": part.scores.astype(np.float32)}, temporary, metadata=facts)


def read_part(parts: Path, start: int) -> Scores | None:
    """A part that is there, None for one that is not. Raises DataError for a damaged one."""
    from safetensors import safe_open

    path = part_path(parts, start)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            facts = stream.metadata()
            scores = stream.get_tensor("scores")
        failures = [Failure(**values) for values in json.loads(facts["failures"])]
        damage = json.loads(facts.get("damage", "{}"))
        videos = json.loads(facts["videos"])
        texts = isinstance(videos, list) and all(isinstance(video, str) for video in videos)
        if not texts or scores.ndim != 2 or scores.dtype != np.float32:
            raise ValueError("it holds other things than videos and their scores")
        if len(videos) != len(scores) or not isinstance(damage, dict):
            raise ValueError(f"{len(scores)} rows of scores for {len(videos)} videos")
        return Scores(videos, scores, failures, damage)
    except Exception as error:  # the format's reader has no common error for damaged files
        raise DataError(
            "a part of the interrupted run is damaged",
            where=str(path),
            found=str(error)[:200],
            hint="delete the file, or start again with --no-resume",
        ) from None


def note_shard(parts: Path, shard: Shard, starts: Sequence[int]) -> None:
    """Leave word that a shard has done all of its parts. Raises StorageError."""
    path = parts / f"shard-{shard.index + 1}-of-{shard.count}.json"
    write_json(path, {"shard": shard.index + 1, "of": shard.count, "parts": shard.of(starts)})


def merged_shards(parts: Path, starts: Sequence[int], finished: dict[int, Scores]) -> int:
    """How many shards the parts of a pass came from. Raises DataError for gaps and overlaps."""
    found = [path.stem.split("-") for path in sorted(parts.glob("shard-*-of-*.json"))]
    counts = sorted({int(words[3]) for words in found})
    if len(counts) > 1:
        raise DataError(
            "shards of different divisions overlap",
            where=str(parts),
            found=" and ".join(f"{sum(int(w[3]) == n for w in found)} of {n}" for n in counts),
            hint="start again in an empty folder, with one number of shards",
        )
    count = counts[0] if counts else 0
    there = {int(words[1]) for words in found}
    missing = [f"{index}/{count}" for index in range(1, count + 1) if index not in there]
    if missing or not counts or set(starts) - set(finished):
        raise DataError(
            "not all shards are there to be merged",
            where=str(parts),
            found=f"{len(there)} shards, {len(finished)} of {len(starts)} parts",
            expected=f"also --shard {', '.join(missing)}" if missing else "every shard of the run",
            hint="run the missing shards with the same options and the same --out",
        )
    return count
