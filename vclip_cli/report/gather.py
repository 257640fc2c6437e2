"""From records to the material of a page; what is not at hand is left out, with the reason."""

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
from vclip_cli.report.clip_pass import pass_over_clips
from vclip_cli.report.focus import Focus, focus_clips
from vclip_cli.report.material import (
    Embeddings,
    Missing,
    ReportMaterial,
    ResultMaterial,
    Strip,
)
from vclip_cli.report.naming import test_name
from vclip_cli.report.selection import Shown, select_clips
from vclip_cli.report.sources import (
    Videos,
    model_of,
    predictions_of,
    reading_of,
    store_of,
    videos_of,
)
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.record import Record

STRIPS_TOGETHER, STRIP_AT_MOST = 2_300_000, 4_000
FOCUS_TOGETHER, FOCUS_AT_MOST = 1_300_000, 24_000
"""Bytes of all strips of a page, small and large, which keep it below 8 MB, and of one strip."""
DEFAULT_CLIPS = 2_000


@dataclass(frozen=True)
class ReportRequest:
    """What a person asked of `vclip report`.

    clips: how many are shown one by one, over all results; checkpoints: files to look at for the
    weights of the records.
    """

    clips: int = DEFAULT_CLIPS
    frames: bool = True
    embedding: bool = True
    checkpoints: tuple[Path, ...] = ()
    device: str = "auto"
    batch_size: int = 8
    workers: WorkerSpec = UNPROTECTED


@dataclass(eq=False)
class _Pictures:
    """The strips of all results so far, by dataset and video, and what each may weigh."""

    strip_bytes: int
    focus_bytes: int
    small: dict[tuple[str, str], Strip] = field(default_factory=dict)
    large: dict[tuple[str, str], Strip] = field(default_factory=dict)


def gather(
    records: Sequence[LoadedRecord], request: ReportRequest, *, progress: Progress = no_progress
) -> ReportMaterial:
    """Everything of a page. Raises DataError for predictions that are not those of their record."""
    compute = resolve_compute(ComputeSpec(device=request.device, batch_size=request.batch_size))
    predictions = [predictions_of(loaded) for loaded in records]
    multi_label = ["top1" not in loaded.record.metrics for loaded in records]
    shown = select_clips(predictions, multi_label, request.clips)
    pictures = _Pictures(
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
            held = None  # the last model leaves the memory before the next one comes
            held = key, model_of(loaded, request.checkpoints)
        made[place] = _gather_one(
            loaded, found, shown[place], held[1], request, compute, pictures, progress
        )
    results = [made[place] for place in range(len(records))]
    return ReportMaterial(
        results=results,
        videos=[entry.videos for entry in shown],
        strips=pictures.small,
        focus_strips=pictures.large,
        frames=_no_frames(results, pictures, request),
    )


def _gather_one(
    loaded: LoadedRecord,
    predictions: Predictions,
    shown: Shown,
    method: LoadedMethod | Missing,
    request: ReportRequest,
    compute: ComputeSpec,
    pictures: _Pictures,
    progress: Progress,
) -> ResultMaterial:
    record = loaded.record
    videos, reading = videos_of(record), reading_of(record)
    for lacking in (videos, reading):
        if isinstance(lacking, Missing):
            return ResultMaterial(loaded, predictions, lacking, lacking)
    assert isinstance(videos, Videos) and not isinstance(reading, Missing)
    prepare_videos(record.dataset.name, shown.videos, progress=progress)
    dataset, test = record.dataset.name, test_name(record)
    remarks = (
        ["The dataset's lists have changed since the evaluation; frames are of today's files."]
        if videos.changed
        else []
    )
    encoder: Encoder | Missing
    store = None
    if isinstance(method, Missing):
        encoder = method
    else:
        encoder = Encoder(method.adapter, compute, request.workers)
        method.adapter.to(encoder.device)
        store = store_of(record, encoder, reading)
    focus = Focus()
    if request.frames or request.embedding:  # the map as well needs the model to be the recorded
        paths = {video: path for video in shown.focus if (path := videos.paths.get(video))}
        hardest = VideoSet(
            videos.root, [ListedVideo(*pair) for pair in paths.items()], reading, dataset
        )
        focus = focus_clips(
            encoder,
            record.prompts.texts,
            hardest,
            predictions,
            multi_label="top1" not in record.metrics,
            strip_bytes=pictures.focus_bytes if request.frames else None,
            stored=store.open(hardest) if store is not None else None,
            progress=progress,
            description=f"looking at the hardest clips of {test} with {record.adapter.name}",
        )
    if request.frames:
        _share(focus, dataset, pictures)
    else:
        focus.attention = Missing("Left out: --no-frames.")
    model = focus.other_model or method
    embeddings, failures = _look_through(
        record,
        shown.videos,
        videos,
        reading,
        model if request.embedding else Missing("Left out: --no-embedding."),
        store,
        request,
        compute,
        pictures if request.frames else None,
        progress,
    )
    if failures:
        video, reason = next(iter(failures.items()))
        remarks.append(
            f"{len(failures):,} of {len(shown.videos):,} clips of this page cannot be read now,"
            f" such as {video}: {reason}."
        )
    attention = focus.other_model or focus.attention
    if not attention:
        attention = Missing("None of the clips could be read.")
    return ResultMaterial(loaded, predictions, embeddings, attention, remarks)


def _look_through(
    record: Record,
    shown: Sequence[str],
    videos: Videos,
    reading: VideoReading,
    method: LoadedMethod | Missing,
    store: EmbeddingStore | None,
    request: ReportRequest,
    compute: ComputeSpec,
    pictures: _Pictures | None,
    progress: Progress,
) -> tuple[Embeddings | Missing, dict[str, str]]:
    """The embeddings of the shown clips, and the clips that cannot be read, with the reason.

    Strips that `pictures` lacks are added; None where none are wanted.
    """
    dataset = record.dataset.name
    lacks = pictures is not None and any((dataset, name) not in pictures.small for name in shown)
    if isinstance(method, Missing) and not lacks:
        return method, {}
    listed = [ListedVideo(video, videos.paths.get(video, "")) for video in shown]
    try:
        passed = pass_over_clips(
            VideoSet(videos.root, listed, reading, dataset),
            None if isinstance(method, Missing) else method,
            compute,
            request.workers,
            strip_bytes=pictures.strip_bytes if pictures is not None and lacks else None,
            store=store,
            progress=progress,
            description=f"reading the clips of {test_name(record)} for {record.adapter.name}",
        )
    except UsageError as error:  # a method that has no vector for a video
        lacking = Missing(f"{error.what}.")
        return _look_through(
            record, shown, videos, reading, lacking, None, request, compute, pictures, progress
        )
    if pictures is not None:
        for video, strip in passed.strips.items():
            pictures.small.setdefault((dataset, video), strip)
    if isinstance(method, Missing):
        return method, passed.failures
    return _embeddings(passed.vectors), passed.failures


def _share(focus: Focus, dataset: str, pictures: _Pictures) -> None:
    """Keep one large strip a video; attention on frames that it does not show brings its own."""
    for video, strip in focus.strips.items():
        shared = pictures.large.setdefault((dataset, video), strip)
        seen = {} if isinstance(focus.attention, Missing) else focus.attention
        if shared.data != strip.data and video in seen:
            seen[video] = replace(seen[video], strip=strip)


def _embeddings(vectors: dict[str, np.ndarray]) -> Embeddings | Missing:
    if not vectors:
        return Missing("None of the clips could be read.")
    return Embeddings(tuple(vectors), np.stack(list(vectors.values())).astype(np.float32))


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


def _no_frames(
    results: Sequence[ResultMaterial], pictures: _Pictures, request: ReportRequest
) -> Missing | None:
    if pictures.small or pictures.large:
        return None
    if not request.frames:
        return Missing("Frames were left out: --no-frames.")
    reasons = [entry.embeddings for entry in results if isinstance(entry.embeddings, Missing)]
    return reasons[0] if reasons else Missing("None of the clips could be read.")
