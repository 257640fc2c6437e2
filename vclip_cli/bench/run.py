"""Everything that `vclip bench` measures, from the clips' files to their scores."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from vclip_cli.bench.clips import Source, find_source, sound_clips
from vclip_cli.bench.computing import measure_encoder, measure_transfer
from vclip_cli.bench.reading import (
    READ_STORE,
    REFERENCE,
    loading_name,
    make_readers,
    measure_loading,
    measure_preprocessing,
    measure_readers,
    readable_by_all,
)
from vclip_cli.bench.timing import Marks, Part, often_enough, timed
from vclip_cli.common.errors import DataError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.devices import device_name, known_precision, pick_device
from vclip_cli.engine.encoding.model import LoadedMethod, load_method
from vclip_cli.engine.encoding.scoring import Computing, Pass, encode_text, score_videos
from vclip_cli.engine.encoding.settings import resolve_settings
from vclip_cli.engine.loading.frame_source import default_store
from vclip_cli.engine.loading.videos import Failure, ListedVideo, VideoReading
from vclip_cli.engine.runs.environment import library_versions, package_facts
from vclip_cli.engine.specs import UNPROTECTED, InputSpec, ModelSpec, WorkerSpec
from vclip_cli.video.frame_store import FrameStore

RANDOM = "random"
CLASSES = 51
"""Made-up classes that the scores are of: as many as HMDB51 has."""
SHORT_SIDE = 256


@dataclass(frozen=True)
class BenchRequest:
    """What a person asked for.

    sources: a dataset, or files and folders; store: the folder of a frame store, None for the
    dataset's own where there is one; limit: clips at most; frames: None for what the method takes.
    """

    sources: Sequence[str] = ()
    method: ModelSpec = field(default_factory=ModelSpec)
    frames: int | None = None
    store: Path | None = None
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int = 8
    guard: WorkerSpec = UNPROTECTED
    rounds: int = 3
    limit: int = 8


@dataclass(frozen=True)
class Measured:
    """What came out; workers: how many processes read beside the one that computes."""

    parts: list[Part]
    clips: list[ListedVideo]
    left_out: list[Failure]
    facts: dict[str, Any]
    workers: int = 0

    @property
    def reference(self) -> Part | None:
        """The published way of reading, where decord is installed."""
        return next((part for part in self.parts if part.name == REFERENCE), None)

    def part(self, name: str) -> Part:
        """A part by its name."""
        return next(part for part in self.parts if part.name == name)

    @property
    def has_store(self) -> bool:
        """Whether frames were read from a store as well."""
        return self.part(READ_STORE).seconds_a_video is not None

    def shares(self, *, store: bool = False) -> dict[str, float]:
        """Of the seconds that a video spends in the parts of an evaluation, from its file or from
        the store, the share of each. Workers read it while others are computed."""
        read = READ_STORE if store else "decode, exact"
        reading = (loading_name(store, self.workers),) if self.workers else (read, "preprocess")
        chain = (*reading, "transfer", "encoder")
        seconds = {name: self.part(name).seconds_a_video or 0.0 for name in chain}
        return {name: value / sum(seconds.values()) for name, value in seconds.items() if value}

    def limits(self, *, store: bool = False) -> str:
        """The part that takes the most."""
        shares = self.shares(store=store)
        return max(shares, key=shares.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """The document of `--json`, raw rounds included."""
        return {
            **self.facts,
            "parts": [part.as_dict(self.reference) for part in self.parts],
            "shares": self.shares(),
            "limits": self.limits(),
            "shares_from_store": self.shares(store=True) if self.has_store else None,
            "limits_from_store": self.limits(store=True) if self.has_store else None,
            "clips": [item.video for item in self.clips],
            "left_out": [vars(failure) for failure in self.left_out],
        }


def bench(request: BenchRequest, *, progress: Progress = no_progress) -> Measured:
    """Measure reading, preprocessing, transfer, encoder and the whole, in rounds.

    Raises DataError when there is no sound clip, UsageError for names that are not known.
    """
    device, precision = pick_device(request.device), known_precision(request.precision)
    source = find_source(request.sources, request.limit, progress=progress)
    method = load_method(_with_weights(request.method), default_backbone=source.backbone)
    adapter = method.adapter.to(device)
    reading = resolve_settings(adapter, InputSpec(frames=request.frames)).reading
    frames = reading.sampling.frames
    clips, left_out = sound_clips(source, frames, progress=progress)
    store = find_store(request.store, source, reading, clips)
    readers = make_readers(source.root, frames, SHORT_SIDE, store)
    clips, unreadable = readable_by_all(clips, readers)
    if not clips:
        raise DataError("no clip can be read by all readers", found=unreadable[0].reason)
    computing = Computing(device, precision, request.batch_size, request.guard)
    parts = measure_readers(clips, readers, request.rounds, progress=progress)
    if store is None:
        parts.append(Part(READ_STORE, remark="not measured: no frame store"))
    parts.append(measure_preprocessing(source.root, clips, reading, device, request.rounds))
    parts.append(measure_transfer(reading, computing, request.rounds))
    parts += measure_encoder(adapter, reading, computing, request.rounds)
    sources = [reading] if store is None else [reading, replace(reading, store=store)]
    for one in sources:
        if request.guard.most_workers:
            parts.append(measure_loading(source.root, clips, one, computing, request.rounds))
        parts.append(
            measure_whole(method, source.root, clips, one, computing, request.rounds, progress)
        )
    facts = _facts(request, method, source, reading)
    return Measured(parts, clips, left_out + unreadable, facts, request.guard.most_workers)


def _with_weights(request: ModelSpec) -> ModelSpec:
    """Random weights where none were named: they are as fast as any, and need no network."""
    if request.checkpoint is not None or request.pretrained is not None:
        return request
    return replace(request, pretrained=RANDOM)


def find_store(
    asked: Path | None, source: Source, reading: VideoReading, clips: Sequence[ListedVideo]
) -> FrameStore | None:
    """The store that was named, or the dataset's own if it keeps these clips and frames.

    Raises DataError when a store that was named does not.
    """
    folder = asked
    if folder is None:
        if source.dataset is None or not default_store(source.dataset).is_dir():
            return None
        folder = default_store(source.dataset)
    store = FrameStore.open(folder)
    missing = [item.video for item in clips if item.video not in store]
    if not missing and store.settings.kept.covers(reading.sampling):
        return store
    if asked is None:
        return None
    raise DataError(
        "the frame store does not keep what is measured",
        where=str(folder),
        found=f"{store.settings.kept.options()}, without {missing[0]!r}"
        if missing
        else store.settings.kept.options(),
        expected=f"{reading.sampling.frames} frames of every clip",
        hint=f"vclip extract {store.dataset} --frames {reading.sampling.frames}",
    )


def measure_whole(
    method: LoadedMethod,
    root: Path,
    clips: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    rounds: int,
    progress: Progress,
) -> Part:
    """From files, or a store, to scores by the evaluation's own loop, the class texts encoded
    beforehand. With workers, once they are under way."""
    names = method.adapter.tied_classes or [f"class {number}" for number in range(CLASSES)]
    text = encode_text(method.adapter, [[name] for name in names], computing)
    part = Part("end to end" if reading.store is None else "end to end, store", len(clips))
    workers = computing.guard.most_workers
    items = often_enough(clips, workers, computing.batch_size)
    with progress(part.name, rounds) as advance:
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder:
                marks = Marks()

                def score(folder: str = folder, marks: Marks = marks) -> None:
                    how = Pass(Path(folder))
                    score_videos(
                        *(method.adapter, text, root, items, reading, computing, how),
                        progress=marks.progress,
                    )

                whole = timed(score, computing.device)
            under_way = marks.seconds_for(len(clips), workers)
            part.rounds.append(whole if under_way is None else under_way)
            advance(1)
    return part


def _facts(
    request: BenchRequest, method: LoadedMethod, source: Source, reading: VideoReading
) -> dict[str, Any]:
    device = next(method.adapter.parameters()).device
    return {
        "dataset": source.dataset,
        "method": method.adapter.name,
        "backbone": method.backbone["name"],
        "pretrained": method.backbone["pretrained"],
        "frames": reading.sampling.frames,
        "rounds": request.rounds,
        "batch_size": request.batch_size,
        "workers": request.guard.most_workers,
        "precision": request.precision,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "libraries": library_versions(),
        "vclip": package_facts(),
    }
