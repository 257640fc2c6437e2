"""All that is decided for `vclip eval` before the first video is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli import __version__
from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.files import sha256_file
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import TestSet, protocol_tests, protocol_validation
from vclip_cli.data.split import SharedVideos, check_overlap
from vclip_cli.engine.encoding.encoder import Encoder, resolve_compute
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import (
    LoadedMethod,
    candidate_classes,
    load_method,
)
from vclip_cli.engine.encoding.settings import (
    Settings,
    class_prompts,
    protocol_views,
    reading_from,
    resolve_settings,
)
from vclip_cli.engine.loading.datasets import open_dataset, same_videos
from vclip_cli.engine.requests import Request, RunDocument
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.runs.shards import Shard, Workload, own_shard
from vclip_cli.engine.specs import COUNT_AS_WRONG
from vclip_cli.results.measure import find_metrics

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

ON_ERROR = ("skip", "stop", COUNT_AS_WRONG)


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """All that is decided before the first video is read.

    request: what was asked, with the names resolved; shard: what this process does of the work.
    """

    request: Request
    protocol: Protocol
    dataset: Dataset
    videos_root: Path
    tests: list[TestSet]
    method: LoadedMethod
    settings: Settings
    encoder: Encoder
    shard: Shard
    document: RunDocument
    overlaps: list[SharedVideos]
    folder: Path


def plan_evaluation(request: Request, method: LoadedMethod | None = None) -> EvaluationPlan:
    """Resolve names, load the weights, and refuse what cannot work, before any video is read.

    method: a model that is loaded already; None to load what `request.model` names.
    """
    data, run = request.data, request.run
    if run.on_error not in ON_ERROR:
        raise UsageError(f"--on-error {run.on_error!r}", hint=did_you_mean(run.on_error, ON_ERROR))
    if run.shard is not None and run.merge:
        raise UsageError("--merge joins what shards have done; it takes no --shard")
    protocol = load_protocol(data.protocol or "zero-shot")
    find_metrics(protocol.metrics, protocol.kind)  # an unknown metric is refused before any work
    compute = resolve_compute(request.compute)
    dataset = open_dataset(data.dataset)
    root = dataset.require_videos()
    tests = protocol_tests(protocol, dataset, splits=data.split)
    if method is None:
        method = load_method(request.model, default_backbone=dataset.config.backbone)
    for test in tests:
        candidate_classes(method, test.classes, test.name)
    overlaps = _check_overlap(request, method, tests)
    views = protocol_views(protocol, dataset, method)
    settings = resolve_settings(method.adapter, request.input, request.text, views)
    reading = reading_from(settings.reading, dataset.config.name)
    settings = replace(settings, reading=reading)
    for test in tests:  # a template or text that makes no sense is refused before any work
        class_prompts(dataset.label_set, test.classes[:1], settings.text, settings.templates)
    encoder = Encoder(method.adapter, compute, request.workers)
    resolved = request.change(
        data={"protocol": data.protocol or protocol.name},
        model={"method": method.adapter.name, "interpolate": method.interpolate},
        input={
            "frames": reading.sampling.frames,
            "clips": reading.sampling.clips,
            "crops": reading.crops,
        },
        text={"template": settings.templates, "text": settings.text},
    )
    sources = {
        "vclip": __version__,
        "model": method.describe(),
        "protocol": protocol.sha256,
        "tests": [[test.name, test.split_sha256, list(test.classes)] for test in tests],
        "manifest": dataset.manifest.sha256,
        "label_set": dataset.label_set.sha256,
        "device": encoder.device.type,
        "reading": {
            "sampling": reading.sampling.as_dict(),
            "preprocessing": reading.preprocessing.as_dict(),
            "decoder": reading.decoder_facts,
            "store": reading.store_facts,
        },
    }
    if (part := validation_part(protocol, dataset, tests, method)) is not None:
        sources["validation"] = [part.name, part.split_sha256]
    if (stored := request.text.label_embeddings) is not None:
        for test in tests:
            prompts = class_prompts(
                dataset.label_set, test.classes, settings.text, settings.templates
            )
            stored_text(stored, method, prompts, compute)
        sources["label_embeddings"] = sha256_file(stored)
    document = RunDocument("eval", resolved, sources)
    return EvaluationPlan(
        request=resolved,
        protocol=protocol,
        dataset=dataset,
        videos_root=root,
        tests=tests,
        method=method,
        settings=settings,
        encoder=encoder,
        shard=own_shard(run.shard),
        document=document,
        overlaps=overlaps,
        folder=run.out or _default_folder(resolved, method, document.sha256),
    )


def _default_folder(request: Request, method: LoadedMethod, sha256: str) -> Path:
    backbone = Path(str(method.backbone["name"]).replace("/", "-")).name
    name = f"{method.adapter.name}_{backbone}_{sha256[:10]}"
    return Path("runs") / Path(str(request.data.protocol)).stem / str(request.data.dataset) / name


def _check_overlap(
    request: Request, method: LoadedMethod, tests: Sequence[TestSet]
) -> list[SharedVideos]:
    """Compare the videos that a checkpoint was trained on with those to be scored."""
    videos = [
        video
        for dataset, names in method.training.videos.items()
        if same_videos(dataset, str(request.data.dataset))
        for video in names
    ]
    return check_overlap(
        videos,
        {test.name: list(test.rows["video"]) for test in tests},
        allowed=request.data.allow_overlap,
    )


def validation_part(
    protocol: Protocol, dataset: Dataset, tests: Sequence[TestSet], method: LoadedMethod
) -> TestSet | None:
    """Where slope, bias and threshold may be chosen; None without such a part.

    A part that the checkpoint was trained on does not count.
    """
    found = protocol_validation(protocol, dataset, tests) if tests[0].multi_label else None
    if found is None:
        return None
    trained = {video for names in method.training.videos.values() for video in names}
    return None if trained & set(found.rows["video"]) else found


def prompts_of(plan: EvaluationPlan, test: TestSet) -> tuple[list[str], list[list[str]]]:
    """The classes of a test set in the order that the method needs, and the prompts of each."""
    ordered = candidate_classes(plan.method, test.classes, test.name)
    settings = plan.settings
    prompts = class_prompts(plan.dataset.label_set, ordered, settings.text, settings.templates)
    return list(ordered), prompts


def listed_videos(test: TestSet, limit: int | None) -> list[tuple[str, str]]:
    """The (id, path) of each listed video once, in order; only the first `limit` of them."""
    firsts = test.rows.drop_duplicates("video")
    pairs = list(zip(firsts["video"], firsts["path"], strict=True))
    return pairs if limit is None else pairs[:limit]


def labels_of(test: TestSet) -> dict[str, tuple[str, ...]]:
    """The class names of every listed video, in the order of the rows."""
    labels: dict[str, tuple[str, ...]] = {}
    for video, name in zip(test.rows["video"], test.rows["class"], strict=True):
        labels[video] = labels.get(video, ()) + ((name,) if name else ())
    return labels


def tests_by_classes(tests: Sequence[TestSet]) -> dict[tuple[str, ...], list[TestSet]]:
    """The tests that are scored in one pass, by their classes.

    With several labels a video, the score of a label does not depend on the other labels, so tests
    of fewer labels use the scores of all labels.
    """
    groups: dict[tuple[str, ...], list[TestSet]] = {}
    widest = max((test.classes for test in tests), key=len)
    if tests[0].multi_label and all(set(test.classes) <= set(widest) for test in tests):
        return {tuple(widest): list(tests)}
    for test in tests:
        groups.setdefault(tuple(test.classes), []).append(test)
    return groups


# Dry run ------------------------------------------------------------------------------------------


def planned_evaluation(plan: EvaluationPlan, rate: float | None) -> dict[str, Any]:
    """What `--dry-run` prints. rate: videos a second of one process."""
    return {
        **plan.document.as_dict(),
        "work": Workload(planned_per_process(plan), rate).as_dict(),
        "out": str(plan.folder),
        "run_sha256": plan.document.sha256,
        "device": plan.encoder.compute.device,
        "tests": [
            {
                "name": test.name,
                "videos": int(test.rows["video"].nunique()),
                "absent": int((test.rows["path"] == "").sum()),
                "classes": len(test.classes),
                "bytes_of_scores": 4 * len(test.classes) * int(test.rows["video"].nunique()),
            }
            for test in plan.tests
        ],
    }


def planned_per_process(plan: EvaluationPlan) -> list[int]:
    """How many videos each process of the request's division scores, over all passes."""
    size, count = plan.encoder.compute.batch_size, plan.shard.count
    divisions = [Division(videos, size) for videos in videos_of_passes(plan)]
    passes = [division.videos_per_process(count) for division in divisions]
    return [sum(of_one) for of_one in zip(*passes, strict=True)]


def videos_of_passes(plan: EvaluationPlan) -> list[int]:
    """How many videos each scoring pass has."""
    groups, limit = tests_by_classes(plan.tests).values(), plan.request.run.limit
    return [len({v for t in tests for v, _ in listed_videos(t, limit)}) for tests in groups]
