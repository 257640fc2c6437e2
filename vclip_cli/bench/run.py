"""Everything that `vclip bench` measures on videos, from their files to their scores."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vclip_cli.bench.reading import (
    READ_STORE,
    REFERENCE,
    make_readers,
    measure_readers,
    readable_by_all,
)
from vclip_cli.bench.sources import VideoSource, find_source, find_store, sound_videos
from vclip_cli.bench.stages import Stages, loading_name, with_weights
from vclip_cli.bench.timing import Part
from vclip_cli.common.errors import DataError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.encoder import Encoder, device_name, resolve_compute
from vclip_cli.engine.encoding.model import LoadedMethod, load_method
from vclip_cli.engine.encoding.settings import resolve_settings
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.diagnosis import library_versions, package_facts
from vclip_cli.engine.runs.parts import FailedVideo

SHORT_SIDE = 256
LIMIT = 8
"""Most videos that are measured where no limit is given."""


@dataclass(frozen=True)
class Measured:
    """The result. workers: how many processes read besides the one that computes."""

    parts: list[Part]
    videos: list[ListedVideo]
    left_out: list[FailedVideo]
    facts: dict[str, Any]
    workers: int = 0

    @property
    def reference(self) -> Part | None:
        """The reading of the published pipelines, where decord is installed."""
        return next((part for part in self.parts if part.name == REFERENCE), None)

    def part(self, name: str) -> Part:
        """A part by its name."""
        return next(part for part in self.parts if part.name == name)

    @property
    def has_store(self) -> bool:
        """Whether frames were read from a store as well."""
        return self.part(READ_STORE).seconds_per_video is not None

    def shares(self, *, store: bool = False) -> dict[str, float]:
        """The share of each stage in the time of a video, from its file or from the store.

        With workers, videos are read while others are computed.
        """
        read = READ_STORE if store else "decode, exact"
        reading = (loading_name(store, self.workers),) if self.workers else (read, "preprocess")
        chain = (*reading, "transfer", "encoder")
        seconds = {name: self.part(name).seconds_per_video or 0.0 for name in chain}
        return {name: value / sum(seconds.values()) for name, value in seconds.items() if value}

    def limits(self, *, store: bool = False) -> str:
        """The stage that takes the most time."""
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
            "listed": [video.video for video in self.videos],
            "left_out": [vars(failure) for failure in self.left_out],
        }


def bench(
    sources: Sequence[str],
    request: Request,
    *,
    store: Path | None = None,
    rounds: int = 3,
    progress: Progress = no_progress,
) -> Measured:
    """Measure reading, preprocessing, transfer, encoder and the whole, in rounds.

    sources: a dataset, or files and folders; store: the folder of a frame store, None for the
    dataset's own where there is one. Raises DataError when there is no sound video, UsageError for
    unknown names.
    """
    compute = resolve_compute(request.compute)
    source = find_source(sources, request.run.limit or LIMIT, progress=progress)
    model = with_weights(request.model)
    method = load_method(model, default_backbone=source.backbone)
    encoder = Encoder(method.adapter, compute, request.workers)
    reading = resolve_settings(method.adapter.to(encoder.device), request.input).reading
    videos, left_out = sound_videos(source, reading.sampling.frames, progress=progress)
    frame_store = find_store(store, source, reading.sampling, videos)
    readers = make_readers(source.root, reading.sampling.frames, SHORT_SIDE, frame_store)
    videos, unreadable = readable_by_all(videos, readers)
    if not videos:
        raise DataError("no video can be read by all readers", found=unreadable[0].reason)
    stages = Stages(encoder, VideoSet(source.root, videos, reading), rounds)
    parts = measure_readers(videos, readers, rounds, progress=progress)
    if frame_store is None:
        parts.append(Part(READ_STORE, remark="not measured: no frame store"))
    parts += [stages.preprocessing(), stages.transfer(), *stages.encoding()]
    for from_one in [stages] if frame_store is None else [stages, stages.from_store(frame_store)]:
        if stages.workers:
            parts.append(from_one.loading())
        parts.append(from_one.whole(progress))
    facts = _facts(request, method, source, stages)
    return Measured(parts, videos, left_out + unreadable, facts, stages.workers)


def _facts(
    request: Request, method: LoadedMethod, source: VideoSource, stages: Stages
) -> dict[str, Any]:
    return {
        "dataset": source.dataset,
        "method": method.adapter.name,
        "backbone": method.backbone["name"],
        "pretrained": method.backbone["pretrained"],
        "frames": stages.reading.sampling.frames,
        "rounds": stages.rounds,
        "batch_size": request.compute.batch_size,
        "workers": stages.workers,
        "precision": request.compute.precision,
        "device": device_name(stages.encoder.device),
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "libraries": library_versions(),
        "vclip": package_facts(),
    }
