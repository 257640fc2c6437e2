"""All that is decided for `vclip eval` before the first video is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vclip_cli import __version__
from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.files import sha256_file
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import TestSet, protocol_tests
from vclip_cli.data.split import SharedVideos, check_overlap
from vclip_cli.engine.encoding.devices import known_precision, pick_device
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import (
    DEFAULT_BACKBONE,
    LoadedMethod,
    candidate_classes,
    load_method,
)
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.encoding.scoring import Computing
from vclip_cli.engine.encoding.settings import (
    Settings,
    protocol_views,
    reading_from,
    resolve_settings,
)
from vclip_cli.engine.evaluation.calibration import validation_part
from vclip_cli.engine.loading.datasets import open_dataset, same_videos
from vclip_cli.engine.requests import Request, RunDocument
from vclip_cli.engine.runs.shards import Shard, own_shard
from vclip_cli.engine.specs import COUNT_AS_WRONG

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
    computing: Computing
    shard: Shard
    document: RunDocument
    overlaps: list[SharedVideos]
    folder: Path


def plan_evaluation(request: Request, method: LoadedMethod | None = None) -> EvaluationPlan:
    """Resolve names, load the weights, and refuse what cannot work, before any video is read.

    method: a model that is loaded already; None to load what `request.model` names.
    """
    data, run, compute = request.data, request.run, request.compute
    if run.on_error not in ON_ERROR:
        raise UsageError(f"--on-error {run.on_error!r}", hint=did_you_mean(run.on_error, ON_ERROR))
    if run.shard is not None and run.merge:
        raise UsageError("--merge joins what shards have done; it takes no --shard")
    protocol = load_protocol(data.protocol or "zero-shot")
    device, precision = pick_device(compute.device), known_precision(compute.precision)
    dataset = open_dataset(data.dataset)
    root = dataset.require_videos()
    tests = protocol_tests(protocol, dataset, splits=data.split)
    if method is None:
        backbone = dataset.config.backbone or DEFAULT_BACKBONE
        method = load_method(request.model, default_backbone=backbone)
    for test in tests:
        candidate_classes(method, test.classes, test.name)
    overlaps = _check_overlap(request, method, tests)
    views = protocol_views(protocol, dataset, method)
    settings = resolve_settings(method.adapter, request.input, request.text, views)
    reading = reading_from(settings.reading, request.input.frames_from, dataset.config.name)
    settings = replace(settings, reading=reading)
    for test in tests:  # a template or text that makes no sense is refused before any work
        class_prompts(dataset.label_set, test.classes[:1], settings.text, settings.templates)
    computing = Computing(device, precision, compute.batch_size, request.workers)
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
        "device": device.type,
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
            stored_text(stored, method, prompts, computing)
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
        computing=computing,
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
