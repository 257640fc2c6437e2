"""All that is decided for `vclip eval` before the first video is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vclip_cli import __version__
from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import sha256_file
from vclip_cli.data.dataset import Dataset
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
from vclip_cli.results.measure import find_metrics, own_metric_files


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """All that is decided before the first video is read.

    request: the request with its names resolved; validation: the set that a multi-label threshold
    is chosen on; shard: this process's share of the work.
    """

    request: Request
    protocol: Protocol
    dataset: Dataset
    tests: list[TestSet]
    validation: TestSet | None
    method: LoadedMethod
    settings: Settings
    encoder: Encoder
    shard: Shard
    document: RunDocument
    overlaps: list[SharedVideos]
    folder: Path

    def classes(self, test: TestSet) -> list[str]:
        """The classes of a test set in the order that the method needs."""
        return list(candidate_classes(self.method, test.classes, test.name))

    def prompts(self, classes: Sequence[str]) -> list[list[str]]:
        """The prompts of each class."""
        settings = self.settings
        return class_prompts(self.dataset.label_set, classes, settings.text, settings.templates)


def plan_evaluation(request: Request, method: LoadedMethod | None = None) -> EvaluationPlan:
    """Resolve names, load weights and refuse impossible requests before any video is read.

    method: a model that is loaded already; None to load what `request.model` names.
    """
    data, run = request.data, request.run
    if run.shard is not None and run.merge:
        raise UsageError("--merge joins what shards have done; it takes no --shard")
    protocol = load_protocol(data.protocol or "zero-shot")
    metrics = find_metrics(protocol.metrics, protocol.kind)  # an unknown one is refused at once
    compute = resolve_compute(request.compute)
    dataset = open_dataset(data.dataset)
    dataset.require_videos()
    tests = protocol_tests(protocol, dataset, splits=data.split)
    if method is None:
        method = load_method(request.model, default_backbone=dataset.config.backbone)
    for test in tests:
        candidate_classes(method, test.classes, test.name)
    seen = {name: set(videos) for name, videos in method.training.videos.items()}
    overlaps = check_overlap(
        set().union(*(seen[name] for name in seen if same_videos(name, dataset.config.name))),
        {test.name: test.rows["video"] for test in tests},
        allowed=data.allow_overlap,
    )
    views = protocol_views(protocol, dataset, method)
    settings = resolve_settings(method.adapter, request.input, request.text, views)
    reading = reading_from(settings.reading, dataset.config.name)
    settings = replace(settings, reading=reading)
    stored = request.text.label_embeddings
    for test in tests:  # prompts that make no sense or are missing are refused before any work
        prompts = class_prompts(dataset.label_set, test.classes, settings.text, settings.templates)
        if stored is not None:
            stored_text(stored, method, prompts, compute)
    validation = protocol_validation(protocol, dataset, tests) if tests[0].multi_label else None
    if validation is not None and set().union(*seen.values()) & set(validation.rows["video"]):
        validation = None  # the checkpoint was trained on it
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
    if own_metrics := own_metric_files([metric.name for metric in metrics]):
        sources["metrics"] = own_metrics
    if validation is not None:
        sources["validation"] = [validation.name, validation.split_sha256]
    if stored is not None:
        sources["label_embeddings"] = sha256_file(stored)
    document = RunDocument("eval", resolved, sources)
    backbone = Path(str(method.backbone["name"]).replace("/", "-")).name
    return EvaluationPlan(
        request=resolved,
        protocol=protocol,
        dataset=dataset,
        tests=tests,
        validation=validation,
        method=method,
        settings=settings,
        encoder=encoder,
        shard=own_shard(run.shard),
        document=document,
        overlaps=overlaps,
        folder=run.out or document.default_folder(f"{method.adapter.name}_{backbone}"),
    )


def listed_videos(test: TestSet, limit: int | None) -> list[tuple[str, str]]:
    """The (id, path) of each listed video once, in order; only the first `limit` of them."""
    firsts = test.rows.drop_duplicates("video")
    return list(zip(firsts["video"], firsts["path"], strict=True))[:limit]


def labels_of(test: TestSet) -> dict[str, tuple[str, ...]]:
    """The class names of every listed video, in the order of the rows."""
    labels: dict[str, tuple[str, ...]] = {}
    for video, name in zip(test.rows["video"], test.rows["class"], strict=True):
        labels[video] = labels.get(video, ()) + ((name,) if name else ())
    return labels


def tests_by_classes(tests: Sequence[TestSet]) -> list[list[TestSet]]:
    """The tests that are scored in one pass: those of the same classes.

    With several labels per video, a label's score does not depend on the other labels, so tests of
    fewer labels use the scores of all labels.
    """
    widest = max((set(test.classes) for test in tests), key=len)
    if tests[0].multi_label and all(set(test.classes) <= widest for test in tests):
        return [list(tests)]
    groups: dict[tuple[str, ...], list[TestSet]] = {}
    for test in tests:
        groups.setdefault(test.classes, []).append(test)
    return list(groups.values())


def videos_of_passes(plan: EvaluationPlan) -> list[int]:
    """How many videos each scoring pass has."""
    passes, limit = tests_by_classes(plan.tests), plan.request.run.limit
    return [len({v for t in tests for v, _ in listed_videos(t, limit)}) for tests in passes]


def planned_evaluation(plan: EvaluationPlan, rate: float | None) -> dict[str, Any]:
    """The output of `--dry-run`. rate: videos per second of one process."""
    size, count = plan.encoder.compute.batch_size, plan.shard.count
    passes = [Division(videos, size).videos_per_process(count) for videos in videos_of_passes(plan)]
    tests = []
    for test in plan.tests:
        videos, classes = int(test.rows["video"].nunique()), len(test.classes)
        tests.append(
            {
                "name": test.name,
                "videos": videos,
                "absent": int((test.rows["path"] == "").sum()),
                "classes": classes,
                "bytes_of_scores": 4 * classes * videos,
            }
        )
    return {
        **plan.document.as_dict(),
        "work": Workload([sum(of_one) for of_one in zip(*passes, strict=True)], rate).as_dict(),
        "out": str(plan.folder),
        "run_sha256": plan.document.sha256,
        "device": plan.encoder.compute.device,
        "tests": tests,
    }
