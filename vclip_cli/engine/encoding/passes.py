"""One pass over a set of videos: read them, encode those not stored, yield batch by batch.

Every loop over videos uses `encoded_batches`. Two are in this module: scoring, which leaves parts
to resume from, and filling the embedding store. Both can be divided among processes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import write_json
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore, StoredEmbeddings
from vclip_cli.engine.encoding.encoder import Encoder, PerLabel
from vclip_cli.engine.loading.videos import VideoBatch, VideoSet, video_batches
from vclip_cli.engine.runs.parts import (
    Division,
    FailedVideo,
    Scores,
    join,
    merged_shards,
    part_path,
    read_part,
    write_part,
)
from vclip_cli.engine.runs.run_log import RunLog
from vclip_cli.engine.runs.shards import Shard, wait_until


@dataclass(frozen=True)
class EncodedBatch(VideoBatch):
    """A batch of a pass.

    positions: of the videos that could be read, or are stored; encoded: the adapter's
    representation of their B·V views, on the device, None without any video; pooled: whether that
    came from embeddings; fresh: videos encoded now, which took `seconds`.
    """

    encoded: Any = None
    pooled: bool = False
    fresh: int = 0
    seconds: float = 0.0


def encoded_batches(
    encoder: Encoder,
    videos: VideoSet,
    division: Division,
    starts: Iterable[int] | None = None,
    *,
    stored: StoredEmbeddings | None = None,
    pooled: bool = False,
    read_all: bool = False,
    store_only: bool = False,
) -> Iterator[EncodedBatch]:
    """The videos of some parts, encoded, in the batches of the division.

    starts: the first positions of the parts, None for all. stored: embeddings to reuse and to add
    to, written after each part, so a resumed run finds all or none of a batch. pooled: encode to
    embeddings and pool them, as with a store. read_all: also read the videos whose embeddings are
    stored, and give the frames. store_only: leave `encoded` out. Raises what `video_batches` and
    the store raise.
    """
    batches: Sequence[Sequence[int]] = division.batches(starts)
    wanted = batches
    if stored is not None and not read_all:
        wanted = [[position for position in batch if position not in stored] for batch in batches]
    on_gpu = encoder.device.type == "cuda"
    read = video_batches(videos, wanted, encoder.workers, pin_memory=on_gpu)
    for positions, batch in zip(batches, read, strict=True):
        began = time.perf_counter()
        if stored is not None or pooled:
            done = _with_embeddings(encoder, videos, positions, batch, stored)
            empty = store_only or done.encoded is None
            done = replace(done, encoded=None if empty else encoder.pool(done.encoded))
        else:
            encoded = None
            if batch.frames is not None:
                encoded = encoder.encode(batch.frames, videos.reading.preprocessing)
            done = EncodedBatch(**vars(batch), encoded=encoded, fresh=len(batch.positions))
        seconds = time.perf_counter() - began
        if stored is not None and division.ends_part(positions):
            stored.flush()
        yield replace(done, seconds=seconds, frames=batch.frames if read_all else None)


def _with_embeddings(
    encoder: Encoder,
    videos: VideoSet,
    positions: Sequence[int],
    batch: VideoBatch,
    stored: StoredEmbeddings | None,
) -> EncodedBatch:
    """Join the new and the stored embeddings of a batch, in the order of `positions`.

    `encoded` holds embeddings (B,V,…), not yet pooled.
    """
    found: dict[int, np.ndarray] = {}
    places = [n for n, p in enumerate(batch.positions) if stored is None or p not in stored]
    if batch.frames is not None and places:
        frames = batch.frames if len(places) == len(batch.frames) else batch.frames[places]
        new = encoder.embed(frames, videos.reading.preprocessing)
        fresh = [batch.positions[place] for place in places]
        found.update(zip(fresh, new, strict=True))
        if stored is not None:
            stored.add(fresh, new, batch.damage)
    damage = dict(batch.damage)
    there = [p for p in positions if p not in found and p not in batch.errors]
    if stored is not None and there:
        found.update(zip(there, stored.read(there), strict=True))
        damage |= stored.damage(there)
    order = [position for position in positions if position in found]
    values = np.stack([found[position] for position in order]) if order else None
    joined = replace(batch, positions=order, damage=damage)
    return EncodedBatch(**vars(joined), encoded=values, pooled=True, fresh=len(places))


# Scoring ------------------------------------------------------------------------------------------


def score_videos(
    encoder: Encoder,
    text: Any,
    videos: VideoSet,
    folder: Path,
    *,
    per_label: PerLabel | None = None,
    stored: StoredEmbeddings | None = None,
    shard: Shard | None = None,
    merge: bool = False,
    stop: bool = False,
    log: RunLog | None = None,
    progress: Progress = no_progress,
    description: str = "scoring",
) -> Scores | None:
    """Score every video, reusing finished parts; None for a process that does a shard for others.

    text, per_label: see `Encoder.score`; folder: of the parts; stored: embeddings to reuse and to
    add to; merge: only join what shards have done; stop: end at the first video that cannot be
    read. Raises DataError for that video, and where shards to be merged are missing.
    """
    shard = shard or Shard()
    division = Division(len(videos), encoder.compute.batch_size)
    starts = division.starts
    finished = {start: part for start in starts if (part := read_part(folder, start)) is not None}
    processes = merged_shards(folder, starts, finished) if merge else shard.count
    done = sum(len(part.videos) + len(part.failures) for part in finished.values())
    own = [start for start in shard.of(starts) if start not in finished]
    latencies: list[float] = []
    with progress(description, len(videos), done) as advance:

        def scored() -> Iterator[Scores]:
            for batch in encoded_batches(encoder, videos, division, own, stored=stored):
                if stop and batch.failures:
                    failure = batch.failures[0]
                    raise DataError(
                        f"the video {failure.video!r} cannot be read",
                        where=failure.path or None,
                        found=failure.reason,
                        hint="--on-error skip lists such videos and continues",
                    )
                scores = _scores_of(encoder, text, videos, batch, per_label)
                if scores.latency is not None:
                    latencies.append(scores.latency)
                advance(len(batch.positions) + len(batch.failures))
                yield scores

        began = time.perf_counter()
        for start, batches in division.by_part(own, scored()):
            finished[start] = join(batches)
            write_part(folder, start, finished[start])
            if log is not None:
                _note_part(log, finished, start, time.perf_counter() - began)
            began = time.perf_counter()
        if shard.manual:
            facts = {"shard": shard.index + 1, "of": shard.count, "parts": shard.of(starts)}
            write_json(folder / f"shard-{shard}.json", facts)
        if not shard.is_main:
            return None
        for start in starts:
            if start not in finished:
                wait_until(part_path(folder, start).is_file)
                part = read_part(folder, start)
                assert part is not None  # a part appears whole, and stays until the run has ended
                finished[start] = part
                advance(len(division.part(start)))
    return replace(
        join([finished[start] for start in starts]),
        latency=statistics.median(latencies) if latencies else None,
        processes=processes,
    )


def _scores_of(
    encoder: Encoder, text: Any, videos: VideoSet, batch: EncodedBatch, per_label: PerLabel | None
) -> Scores:
    """The scores of a batch; latency: seconds per newly encoded video."""
    began = time.perf_counter()
    scores = np.zeros((0, 0), np.float32)
    if batch.encoded is not None:
        views = videos.reading.views
        scores = encoder.score(batch.encoded, text, views, per_label, pooled=batch.pooled)
    seconds = batch.seconds + time.perf_counter() - began
    return Scores(
        videos=[videos.videos[position].video for position in batch.positions],
        scores=scores,
        failures=batch.failures,
        damage=batch.damage,
        fresh=batch.fresh,
        latency=seconds / batch.fresh if batch.fresh else None,
    )


def _note_part(log: RunLog, finished: dict[int, Scores], start: int, seconds: float) -> None:
    part, counted = finished[start], finished.values()
    log.note(
        "part",
        part=start,
        seconds=round(seconds, 3),
        done=sum(len(part.videos) for part in counted),
        failed=sum(len(part.failures) for part in counted),
    )
    for failure in part.failures:
        log.note("warning", text=f"{failure.video!r} cannot be read: {failure.reason}")


# Filling the embedding store ----------------------------------------------------------------------


@dataclass(frozen=True)
class Embedded:
    """The counts of a pass: videos already stored, newly encoded, and failed."""

    reused: int
    encoded: int
    failures: list[FailedVideo]


def embed_videos(
    encoder: Encoder,
    videos: VideoSet,
    store: EmbeddingStore,
    shard: Shard,
    *,
    progress: Progress = no_progress,
) -> Embedded:
    """Encode and store the missing embeddings of this process's shard.

    Each process writes files of its own into the one store. Rank 0 of a launch waits for the others
    and returns what all have done; any other process returns what it has done itself. The store
    must take embeddings of any size (`stores_all`). Raises StorageError when it cannot be written.
    """
    division = Division(len(videos), encoder.compute.batch_size)
    own = videos.at(division.positions_of(shard))
    own.prepare(progress)
    launched = shard.count > 1 and not shard.manual
    others = shard.all_shards[1:] if launched and shard.is_main else []
    if launched:
        _note_path(store, shard).unlink(missing_ok=True)
    stored = store.open(own)
    missing = own.at([position for position in range(len(own)) if position not in stored])
    fresh = store.open(missing)
    failures: list[FailedVideo] = []
    encoded, there = 0, len(own) - len(missing)
    batches = Division(len(missing), encoder.compute.batch_size)
    with progress("embedding", len(videos) if shard.is_main else len(own), there) as advance:
        for batch in encoded_batches(encoder, missing, batches, stored=fresh, store_only=True):
            failures += batch.failures
            encoded += len(batch.positions)
            advance(len(batch.positions) + len(batch.failures))
        done = Embedded(there, encoded, failures)
        if launched and not shard.is_main:
            write_json(_note_path(store, shard), asdict(done))
        for other in others:
            theirs = videos.at(division.positions_of(other))
            found = _wait_for(store, theirs, _note_path(store, other))
            advance(len(theirs))
            done = Embedded(
                done.reused + found.reused,
                done.encoded + found.encoded,
                done.failures + found.failures,
            )
    return done


def _note_path(store: EmbeddingStore, shard: Shard) -> Path:
    return store.folder / f"done-{shard}.json"


def _wait_for(store: EmbeddingStore, videos: VideoSet, note: Path) -> Embedded:
    """The note of another process, once the store holds as many videos as the note counts.

    The wait keeps a killed launch's note from passing for this launch's.
    """
    seen: list[Embedded] = []

    def is_done() -> bool:
        try:
            found = TypeAdapter(Embedded).validate_json(note.read_bytes())
        except (OSError, ValueError):
            return False
        if found in seen:
            return False
        seen.append(found)
        failed = {failure.video for failure in found.failures}
        stored = store.open(videos)
        missing = [item for place, item in enumerate(videos.videos) if place not in stored]
        return all(item.video in failed for item in missing)

    wait_until(is_done)
    note.unlink(missing_ok=True)
    return seen[-1]
