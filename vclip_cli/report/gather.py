"""From records to the material of a page; what is missing is left out, with the reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import canonical_json
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore
from vclip_cli.engine.encoding.encoder import Encoder, resolve_compute
from vclip_cli.engine.encoding.model import LoadedMethod
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, VideoSet
from vclip_cli.engine.specs import UNPROTECTED, ComputeSpec, WorkerSpec
from vclip_cli.report.clip_pass import pass_over_videos
from vclip_cli.report.focus import Focus, focus_videos
from vclip_cli.report.material import (
    Embeddings,
    Missing,
    ReportMaterial,
    ResultMaterial,
    Strip,
)
from vclip_cli.report.provenance import test_name
from vclip_cli.report.sources import (
    Videos,
    model_of,
    predictions_of,
    reading_of,
    store_of,
    videos_of,
)
from vclip_cli.report.video_scores import Shown, select_videos
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.record import Record

STRIPS_TOGETHER, STRIP_AT_MOST = 2_300_000, 4_000
FOCUS_TOGETHER, FOCUS_AT_MOST = 1_300_000, 24_000
"""Bytes of all small and all large strips of a page, which keep it below 8 MB, and of one strip."""
DEFAULT_VIDEOS = 2_000
UNREADABLE = Missing("None of the videos could be read.")


@dataclass(frozen=True)
class ReportRequest:
    """The options of `vclip report`.

    videos: how many are shown one by one, over all results; checkpoints: files that may be the
    checkpoints of the records.
    """

    videos: int = DEFAULT_VIDEOS
    frames: bool = True
    embedding: bool = True
    checkpoints: tuple[Path, ...] = ()
    device: str = "auto"
    batch_size: int = 8
    workers: WorkerSpec = UNPROTECTED


@dataclass(eq=False)
class _Gathering:
    """What all results share: the request, and the strips so far by dataset and video.

    strip_bytes, focus_bytes: the most that one small and one large strip may have.
    """

    request: ReportRequest
    compute: ComputeSpec
    progress: Progress
    strip_bytes: int
    focus_bytes: int
    small: dict[tuple[str, str], Strip] = field(default_factory=dict)
    large: dict[tuple[str, str], Strip] = field(default_factory=dict)


def gather(
    records: Sequence[LoadedRecord], request: ReportRequest, *, progress: Progress = no_progress
) -> ReportMaterial:
    """Everything of a page. Raises DataError for predictions that are not their record's."""
    compute = resolve_compute(ComputeSpec(device=request.device, batch_size=request.batch_size))
    predictions = [predictions_of(loaded) for loaded in records]
    multi_label = [loaded.record.kind == "multi-label" for loaded in records]
    shown = select_videos(predictions, multi_label, request.videos)
    gathering = _Gathering(
        request,
        compute,
        progress,
        _fair(STRIPS_TOGETHER, STRIP_AT_MOST, records, [entry.videos for entry in shown]),
        _fair(FOCUS_TOGETHER, FOCUS_AT_MOST, records, [entry.focus for entry in shown]),
    )
    made: dict[int, ResultMaterial] = {}
    held: tuple[str, LoadedMethod | Missing] | None = None
    for place in sorted(range(len(records)), key=lambda place: _model_key(records[place].record)):
        loaded, found = records[place], predictions[place]
        if isinstance(found, Missing):
            made[place] = ResultMaterial(loaded, found, found, found)
            continue
        key = _model_key(loaded.record)
        if held is None or held[0] != key:
            held = None  # frees the last model before the next is loaded
            held = key, model_of(loaded, request.checkpoints)
        made[place] = _gather_one(loaded, found, shown[place], held[1], gathering)
    results = [made[place] for place in range(len(records))]
    return ReportMaterial(
        results=results,
        videos=[entry.videos for entry in shown],
        strips=gathering.small,
        focus_strips=gathering.large,
        frames=_no_frames(results, gathering),
    )


def _gather_one(
    loaded: LoadedRecord,
    predictions: Predictions,
    shown: Shown,
    method: LoadedMethod | Missing,
    gathering: _Gathering,
) -> ResultMaterial:
    record, request = loaded.record, gathering.request
    videos, reading = videos_of(record), reading_of(record)
    if isinstance(videos, Missing):
        return ResultMaterial(loaded, predictions, videos, videos)
    if isinstance(reading, Missing):
        return ResultMaterial(loaded, predictions, reading, reading)
    prepare_videos(record.dataset.name, shown.videos, progress=gathering.progress)
    dataset = record.dataset.name
    remarks = []
    if videos.changed:
        remarks.append(
            "The dataset's lists have changed since the evaluation; the frames are of today's"
            " files."
        )
    encoder: Encoder | Missing
    store = None
    if isinstance(method, Missing):
        encoder = method
    else:
        encoder = Encoder(method.adapter, gathering.compute, request.workers)
        method.adapter.to(encoder.device)
        store = store_of(record, encoder, reading)
    focus = Focus()
    if request.frames or request.embedding:  # the map, too, needs the recorded model
        paths = {video: path for video in shown.focus if (path := videos.paths.get(video))}
        hardest = VideoSet(
            videos.root, [ListedVideo(*pair) for pair in paths.items()], reading, dataset
        )
        focus = focus_videos(
            encoder,
            record.prompts.texts,
            hardest,
            predictions,
            multi_label=record.kind == "multi-label",
            strip_bytes=gathering.focus_bytes if request.frames else None,
            stored=store.open(hardest) if store is not None else None,
            progress=gathering.progress,
            description=f"reading the hardest videos of {test_name(record)} for"
            f" {record.adapter.name}",
        )
    if request.frames:
        _keep_strips(focus, dataset, gathering)
    else:
        focus.attention = Missing("Left out: --no-frames.")
    model = focus.other_model or method
    if not request.embedding:
        model = Missing("Left out: --no-embedding.")
    embeddings, failures = _embed(record, shown.videos, videos, reading, model, store, gathering)
    if failures:
        video, reason = next(iter(failures.items()))
        remarks.append(
            f"{len(failures):,} of {len(shown.videos):,} videos of this page cannot be read now,"
            f" such as {video}: {reason}."
        )
    attention = focus.other_model or focus.attention or UNREADABLE
    return ResultMaterial(loaded, predictions, embeddings, attention, remarks)


def _embed(
    record: Record,
    shown: Sequence[str],
    videos: Videos,
    reading: VideoReading,
    method: LoadedMethod | Missing,
    store: EmbeddingStore | None,
    gathering: _Gathering,
) -> tuple[Embeddings | Missing, dict[str, str]]:
    """The embeddings of the shown videos, and those that cannot be read, with the reason.

    The same pass makes the small strips that are still missing.
    """
    dataset = record.dataset.name
    lacks = gathering.request.frames and any((dataset, v) not in gathering.small for v in shown)
    if isinstance(method, Missing) and not lacks:
        return method, {}
    items = [ListedVideo(video, videos.paths.get(video, "")) for video in shown]
    try:
        passed = pass_over_videos(
            VideoSet(videos.root, items, reading, dataset),
            None if isinstance(method, Missing) else method,
            gathering.compute,
            gathering.request.workers,
            strip_bytes=gathering.strip_bytes if lacks else None,
            store=store,
            progress=gathering.progress,
            description=f"reading the videos of {test_name(record)} for {record.adapter.name}",
        )
    except UsageError as error:  # the method has no vector for a video
        lacking = Missing(f"{error.what}.")
        return _embed(record, shown, videos, reading, lacking, None, gathering)
    for video, strip in passed.strips.items():
        gathering.small.setdefault((dataset, video), strip)
    if isinstance(method, Missing):
        return method, passed.failures
    if not passed.vectors:
        return UNREADABLE, passed.failures
    vectors = np.stack(list(passed.vectors.values())).astype(np.float32)
    return Embeddings(tuple(passed.vectors), vectors), passed.failures


def _keep_strips(focus: Focus, dataset: str, gathering: _Gathering) -> None:
    """Keep one large strip a video; attention on other frames keeps its own strip."""
    for video, strip in focus.strips.items():
        kept = gathering.large.setdefault((dataset, video), strip)
        seen = {} if isinstance(focus.attention, Missing) else focus.attention
        if kept.data != strip.data and video in seen:
            seen[video] = replace(seen[video], strip=strip)


def _fair(
    together: int, at_most: int, records: Sequence[LoadedRecord], videos: list[tuple[str, ...]]
) -> int:
    """The bytes that each of the different videos may have."""
    different = {
        (loaded.record.dataset.name, video)
        for loaded, names in zip(records, videos, strict=True)
        for video in names
    }
    return min(at_most, together // max(1, len(different)))


def _model_key(record: Record) -> str:
    """Equal for records of one model."""
    return canonical_json(
        [record.adapter.model_dump(mode="json"), record.backbone.model_dump(mode="json")]
    )


def _no_frames(results: Sequence[ResultMaterial], gathering: _Gathering) -> Missing | None:
    if gathering.small or gathering.large:
        return None
    if not gathering.request.frames:
        return Missing("Frames were left out: --no-frames.")
    reasons = [entry.embeddings for entry in results if isinstance(entry.embeddings, Missing)]
    return reasons[0] if reasons else UNREADABLE
