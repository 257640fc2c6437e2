"""Scores of listed videos over candidate classes, part by part."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vclip_cli.common.errors import DataError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.devices import autocast
from vclip_cli.engine.encoding.embedding_pass import complete, left_to_encode, score_embeddings
from vclip_cli.engine.encoding.embedding_store import StoredEmbeddings
from vclip_cli.engine.loading.prefetch import prefetched
from vclip_cli.engine.loading.videos import ListedVideo, VideoBatch, VideoReading, video_batches
from vclip_cli.engine.runs.parts import (
    GrowingPart,
    Scores,
    join,
    merged_shards,
    note_shard,
    part_path,
    part_size,
    read_part,
    write_part,
)
from vclip_cli.engine.runs.run_log import RunLog
from vclip_cli.engine.runs.shards import Shard, wait_until
from vclip_cli.engine.specs import UNPROTECTED, WorkerSpec
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import to_device
from vclip_cli.video.preprocess import normalise

PerLabel = Callable[[torch.Tensor], torch.Tensor]
"""Logits (B,K) to one score a label, each by itself; see `label_probability`."""


@dataclass(frozen=True)
class Computing:
    """Where and how the arithmetic is done, and the clips are read."""

    device: torch.device
    precision: str = "fp32"
    batch_size: int = 8
    guard: WorkerSpec = UNPROTECTED


@dataclass(frozen=True)
class Pass:
    """How a scoring pass is carried out, none of which changes a score.

    parts: the folder of its parts; shard: the parts that this process does; merge: only join what
    shards have done; stop: break off at the first video that cannot be read.
    """

    parts: Path
    shard: Shard = field(default_factory=Shard)
    merge: bool = False
    stop: bool = False
    log: RunLog | None = None


def score_videos(
    adapter: Adapter,
    text: Any,
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    how: Pass,
    *,
    per_label: PerLabel | None = None,
    stored: StoredEmbeddings | None = None,
    progress: Progress = no_progress,
    description: str = "scoring",
) -> Scores | None:
    """Score every item, reusing whole parts; None for a process that does a share for others.

    text: what the adapter's `encode_text` gave. Scores are probabilities, averaged over views: the
    softmax over the classes, or what `per_label` makes of each logit by itself. stored: embeddings
    to reuse and to add to, written before the part that they belong to: a resumed run finds all or
    none of a batch, and ends with the same bytes. Raises DataError when shards that are to be
    merged are not all there, or at a failure where `how` says so.
    """
    size = part_size(computing.batch_size)
    starts = list(range(0, len(items), size))
    finished = {start: part for start in starts if (part := read_part(how.parts, start))}
    processes = merged_shards(how.parts, starts, finished) if how.merge else how.shard.count
    done = sum(len(part.videos) + len(part.failures) for part in finished.values())
    batches = [
        range(first, min(first + computing.batch_size, start + size, len(items)))
        for start in how.shard.of(starts)
        if start not in finished
        for first in range(start, min(start + size, len(items)), computing.batch_size)
    ]
    on_gpu = computing.device.type == "cuda"
    growing = GrowingPart()
    seconds_a_video: list[float] = []
    wanted = batches if stored is None else left_to_encode(batches, stored)
    clips = video_batches(
        root,
        items,
        reading,
        wanted,
        guard=computing.guard,
        pin_memory=on_gpu,
    )
    if on_gpu:
        clips = prefetched(clips)
    part_began = time.perf_counter()
    with progress(description, len(items), done) as advance:
        for positions, batch in zip(batches, clips, strict=True):
            _stop_at_failures(batch, how)
            began = time.perf_counter()
            encoded = 0 if batch.frames is None else len(batch.frames)
            if stored is not None:
                batch, values = complete(adapter, positions, batch, reading, computing, stored)
                if values is not None:
                    scores = score_embeddings(adapter, text, values, computing, per_label)
                    growing.scores.append(scores.cpu().numpy())
            elif batch.frames is not None:
                frames = to_device(batch.frames, computing.device)
                scores = score_batch(adapter, text, frames, reading, computing, per_label)
                growing.scores.append(scores.cpu().numpy())  # which waits for the device
            if encoded:
                growing.fresh += encoded
                seconds_a_video.append((time.perf_counter() - began) / encoded)
            growing.add([items[position].video for position in batch.positions], batch)
            if positions.stop % size == 0 or positions.stop == len(items):
                start = (positions.stop - 1) // size * size
                if stored is not None:
                    stored.flush()
                finished[start] = growing.close()
                write_part(how.parts, start, finished[start])
                if how.log is not None:
                    seconds = time.perf_counter() - part_began
                    _note(how.log, finished, start, seconds)
                growing, part_began = GrowingPart(), time.perf_counter()
            advance(len(positions))
        if how.shard.manual:
            note_shard(how.parts, how.shard, starts)
        if not how.shard.is_main:
            return None
        for start in starts:
            if start not in finished:
                finished[start] = _done_elsewhere(how.parts, start)
                advance(min(size, len(items) - start))
    return replace(
        join([finished[start] for start in starts]),
        latency=statistics.median(seconds_a_video) if seconds_a_video else None,
        processes=processes,
    )


def _done_elsewhere(parts: Path, start: int) -> Scores:
    wait_until(part_path(parts, start).is_file)
    part = read_part(parts, start)
    assert part is not None  # parts are renamed into place whole, and never removed in a run
    return part


def _stop_at_failures(batch: VideoBatch, how: Pass) -> None:
    if how.stop and batch.failures:
        failure = batch.failures[0]
        raise DataError(
            f"the video {failure.video!r} cannot be read",
            where=failure.path or None,
            found=failure.reason,
            hint="--on-error skip lists such videos and goes on",
        )


def _note(log: RunLog, finished: dict[int, Scores], start: int, seconds: float) -> None:
    part = finished[start]
    counted = finished.values()
    log.note(
        "part",
        part=start,
        seconds=round(seconds, 3),
        done=sum(len(part.videos) for part in counted),
        failed=sum(len(part.failures) for part in counted),
    )
    for failure in part.failures:
        log.note("warning", text=f"{failure.video!r} cannot be read: {failure.reason}")


@torch.inference_mode()
def encode_text(adapter: Adapter, prompts: Sequence[Sequence[str]], computing: Computing) -> Any:
    """What the adapter's `score` needs of the classes, computed once, in the run's precision."""
    with autocast(computing.device, computing.precision):
        return adapter.encode_text(prompts)


@torch.inference_mode()
def score_batch(
    adapter: Adapter,
    text: Any,
    frames: torch.Tensor,
    reading: VideoReading,
    computing: Computing,
    per_label: PerLabel | None = None,
) -> torch.Tensor:
    """Frames uint8 (B,V,T,S,S,3) to scores float32 (B,K)."""
    batch, views = frames.shape[:2]
    clips = normalise(frames.flatten(0, 1), reading.preprocessing)
    with autocast(computing.device, computing.precision):
        logits = adapter.score(adapter.encode_video(clips), text).float()
    per_view = logits.softmax(dim=-1) if per_label is None else per_label(logits)
    return per_view.unflatten(0, (batch, views)).mean(dim=1).float()
