"""Embeddings computed by several processes: each adds shards to the one store, none is merged.

The videos are cut into pieces of whole batches, as one process would batch them, so that the values
do not depend on how many processes there are. A process of a launch leaves a note in the store of
what it has done, which the first one waits for and removes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import StorageError
from vclip_cli.common.files import write_json
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.embedding_pass import embedded_batches
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore
from vclip_cli.engine.loading.videos import Failure, ListedVideo, VideoReading
from vclip_cli.engine.runs.parts import part_size
from vclip_cli.engine.runs.shards import Shard, wait_until
from vclip_cli.models.contract import Adapter

if TYPE_CHECKING:
    from vclip_cli.engine.encoding.scoring import Computing


@dataclass(frozen=True)
class Embedded:
    """What a pass did: videos found stored, encoded by it, and failed."""

    reused: int
    encoded: int
    failures: list[Failure]


def share_of_items(
    items: Sequence[ListedVideo], shard: Shard, batch_size: int
) -> list[ListedVideo]:
    """The videos that a process encodes, in order: whole batches of one process."""
    size = part_size(batch_size)
    starts = shard.of(range(0, len(items), size))
    return [item for start in starts for item in items[start : start + size]]


def embed_shared(
    adapter: Adapter,
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    store: EmbeddingStore,
    dataset: str,
    shard: Shard,
    *,
    progress: Progress = no_progress,
) -> Embedded:
    """Encode and store what is missing of this process's share.

    The leading process of a launch waits for the others and gives what all have done; any other
    gives what it has done itself. The store must take embeddings of any size. Raises StorageError
    when it cannot be written.
    """
    own = share_of_items(items, shard, computing.batch_size)
    note = store.folder / _note_name(shard)
    if shard.count > 1 and not shard.manual:
        note.unlink(missing_ok=True)
    stored = store.open(dataset, root, own)
    missing = [item for position, item in enumerate(own) if position not in stored]
    fresh = store.open(dataset, root, missing)
    failures: list[Failure] = []
    encoded, there = 0, len(own) - len(missing)
    total = len(items) if shard.is_main else len(own)
    with progress("embedding", total, there) as advance:
        for batch, _ in embedded_batches(adapter, root, missing, reading, computing, fresh):
            failures += batch.failures
            encoded += len(batch.positions)
            advance(len(batch.positions) + len(batch.failures))
        if not fresh.adds:
            raise StorageError(
                "the embeddings cannot be stored",
                where=str(store.folder),
                hint="free some space, or name another folder with VCLIP_CACHE",
            )
        done = Embedded(there, encoded, failures)
        if shard.count == 1 or shard.manual:
            return done
        if not shard.is_main:
            write_json(note, asdict(done))
            return done
        for index in range(1, shard.count):
            theirs = share_of_items(items, Shard(index, shard.count), computing.batch_size)
            other = _wait_for(store, dataset, root, theirs, Shard(index, shard.count))
            advance(len(theirs))
            done = Embedded(
                done.reused + other.reused,
                done.encoded + other.encoded,
                done.failures + other.failures,
            )
    return done


def _wait_for(
    store: EmbeddingStore, dataset: str, root: Path, items: Sequence[ListedVideo], shard: Shard
) -> Embedded:
    """What another process says that it has done, once the store bears it out.

    A note that a killed launch has left is not taken for this one's.
    """
    path = store.folder / _note_name(shard)
    seen: list[Embedded] = []

    def is_done() -> bool:
        found = _read_note(path)
        if found is None or found in seen:
            return False
        seen.append(found)
        failed = {failure.video for failure in found.failures}
        stored = store.open(dataset, root, items)
        missing = [item for position, item in enumerate(items) if position not in stored]
        return all(item.video in failed for item in missing)

    wait_until(is_done)
    path.unlink(missing_ok=True)
    return seen[-1]


def _note_name(shard: Shard) -> str:
    return f"done-{shard.index + 1}-of-{shard.count}.json"


def _read_note(path: Path) -> Embedded | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        failures = [Failure(**failure) for failure in values["failures"]]
        return Embedded(int(values["reused"]), int(values["encoded"]), failures)
    except (OSError, ValueError, LookupError, TypeError):
        return None
