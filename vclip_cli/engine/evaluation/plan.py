"""What `vclip eval` was asked for, and all that is decided before the first video is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli import __version__
from vclip_cli.common.errors import DataError, UsageError, did_you_mean
from vclip_cli.common.files import sha256_file, sha256_json
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import TestSet, protocol_tests
from vclip_cli.data.recipe import Text
from vclip_cli.data.split import SharedVideos, check_overlap
from vclip_cli.engine.encoding.devices import known_precision, pick_device
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import (
    DEFAULT_BACKBONE,
    LoadedMethod,
    MethodRequest,
    candidate_classes,
    load_method,
)
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.encoding.scoring import Computing
from vclip_cli.engine.encoding.settings import Settings, ViewRequest, resolve_settings
from vclip_cli.engine.evaluation.calibration import validation_part
from vclip_cli.engine.loading.datasets import open_dataset, same_videos
from vclip_cli.engine.loading.frame_source import (
    SOURCE,
    open_frames,
    require_kept,
    require_large_enough,
)
from vclip_cli.engine.loading.workers import UNGUARDED, Guard
from vclip_cli.engine.runs.shards import Shard

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

COUNT_AS_WRONG = "count-as-wrong"
ON_ERROR = ("skip", "stop", COUNT_AS_WRONG)


@dataclass(frozen=True)
class EvaluationRequest:
    """What a person asked of `vclip eval`, for one dataset.

    frames_from: `source`, `store`, or a store's folder;
    splits: names of test splits, None for all of the protocol's; limit: only the first N videos of
    each list; out: the run's folder, None for one below `runs/` named after the settings; cache:
    reuse and keep embeddings; shard: the part of the work that this process does; merge: only join
    what shards have done; on_error: `skip`, `stop` or `count-as-wrong`; command: the command line,
    for the record; label_embeddings: a file that `vclip labels embed` wrote.
    """

    protocol: str
    dataset: str
    method: MethodRequest = field(default_factory=MethodRequest)
    views: ViewRequest = field(default_factory=ViewRequest)
    frames_from: str = SOURCE
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int = 8
    guard: Guard = UNGUARDED
    limit: int | None = None
    splits: tuple[str, ...] | None = None
    allow_overlap: bool = False
    out: Path | None = None
    resume: bool = True
    cache: bool = True
    shard: Shard = field(default_factory=Shard)
    merge: bool = False
    on_error: str = "skip"
    command: tuple[str, ...] = ()
    label_embeddings: Path | None = None


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """All that is decided before the first video is read."""

    request: EvaluationRequest
    protocol: Protocol
    dataset: Dataset
    tests: list[TestSet]
    method: LoadedMethod
    settings: Settings
    computing: Computing
    identity: dict[str, Any]
    overlaps: list[SharedVideos]
    folder: Path

    @property
    def sha256(self) -> str:
        """The hash of everything that determines the scores."""
        return sha256_json(self.identity)


def plan_evaluation(request: EvaluationRequest) -> EvaluationPlan:
    """Resolve names, load the weights, and refuse what cannot work, before any video is read."""
    if request.on_error not in ON_ERROR:
        raise UsageError(
            f"--on-error {request.on_error!r}", hint=did_you_mean(request.on_error, ON_ERROR)
        )
    protocol = load_protocol(request.protocol)
    device = pick_device(request.device)
    dataset = open_dataset(request.dataset)
    if dataset.videos_root is None:
        raise DataError(
            f"the dataset {request.dataset!r} was registered without videos",
            hint=f"vclip data add {request.dataset} --videos DIR",
        )
    tests = protocol_tests(protocol, dataset, splits=request.splits)
    method = load_method(
        request.method, default_backbone=dataset.config.backbone or DEFAULT_BACKBONE
    )
    for test in tests:
        candidate_classes(method, test.classes, test.name)
    overlaps = _guard_overlap(request, method, tests)
    views = protocol_views(protocol, dataset, method)
    settings = resolve_settings(method.adapter, request.views, views)
    settings = _from_store(settings, request)
    for test in tests:  # a template or text that makes no sense is refused before any work
        class_prompts(dataset.label_set, test.classes[:1], settings.text, settings.templates)
    precision = known_precision(request.precision)
    computing = Computing(device, precision, request.batch_size, request.guard)
    identity = {
        **method.describe(),
        "vclip": __version__,
        "protocol": protocol.sha256,
        "tests": [[test.name, test.split_sha256, list(test.classes)] for test in tests],
        "manifest": dataset.manifest.sha256,
        "label_set": dataset.label_set.sha256,
        "reading": {
            "sampling": settings.reading.sampling.as_dict(),
            "preprocessing": settings.reading.preprocessing.as_dict(),
            "crops": settings.reading.crops,
            "decoder": settings.reading.decoder_facts,
            "store": settings.reading.store_facts,
        },
        "templates": list(settings.templates),
        "text": settings.text,
        "precision": request.precision,
        "device": device.type,
        "batch_size": request.batch_size,
        "limit": request.limit,
        "count_as_wrong": request.on_error == COUNT_AS_WRONG,
    }
    if (part := validation_part(protocol, dataset, tests, method)) is not None:
        identity["validation"] = [part.name, part.split_sha256]
    if request.label_embeddings is not None:
        for test in tests:
            prompts = class_prompts(
                dataset.label_set, test.classes, settings.text, settings.templates
            )
            stored_text(request.label_embeddings, method, prompts, computing)
        identity["label_embeddings"] = sha256_file(request.label_embeddings)
    folder = request.out or _default_folder(request, method, sha256_json(identity))
    return EvaluationPlan(
        request, protocol, dataset, tests, method, settings, computing, identity, overlaps, folder
    )


def _from_store(settings: Settings, request: EvaluationRequest) -> Settings:
    """The same settings, with frames from the store where one was asked for."""
    reading = settings.reading
    store = open_frames(request.frames_from, request.dataset, reading.decoder)
    require_kept(store, reading.sampling)
    require_large_enough(store, reading.preprocessing, reading.crops)
    return replace(settings, reading=replace(reading, store=store))


def _default_folder(request: EvaluationRequest, method: LoadedMethod, sha256: str) -> Path:
    backbone = Path(str(method.backbone["name"]).replace("/", "-")).name
    name = f"{method.adapter.name}_{backbone}_{sha256[:10]}"
    return Path("runs") / Path(request.protocol).stem / request.dataset / name


def protocol_views(protocol: Protocol, dataset: Dataset, method: LoadedMethod) -> dict[str, Any]:
    """What is stated of frames, views and text: by the protocol, over that by its recipe for the
    method, over that by the checkpoint, which was trained in one way and not in another."""
    plan: dict[str, Any] = {
        "frames": protocol.frames_for(dataset.config.name),
        "clips": protocol.views.clips,
        "crops": protocol.views.crops,
        **_stated_text(protocol.text, dataset),
    }
    name = method.adapter.name
    found = protocol.recipe_for(name, dataset.config.name)
    for_others = (r for r in protocol.recipes.values() if r.method == name)
    recipe = found[1] if found is not None else next(for_others, None)
    if recipe is not None:
        plan |= {
            "frames": recipe.frames,
            "clips": recipe.views.clips,
            "crops": recipe.views.crops,
            "rule": recipe.sampling.test,
            "stride": recipe.sampling.stride if recipe.sampling.test == "dense" else 1,
            **_stated_text(recipe.text, dataset),
        }
    return plan | method.stated_views()


def _stated_text(text: Text | None, dataset: Dataset) -> dict[str, Any]:
    """What is stated of the prompts. A paper's text variant that the label set lacks, such as that
    of a person's own classes, is left out: `natural` stands in for it."""
    stated: dict[str, Any] = {}
    if text is not None and text.variant in dataset.label_set.variants:
        stated["text"] = text.variant
    if text is not None and text.templates:
        stated["templates"] = tuple(text.templates)
    return stated


def _guard_overlap(
    request: EvaluationRequest, method: LoadedMethod, tests: Sequence[TestSet]
) -> list[SharedVideos]:
    """Compare the videos that a checkpoint was trained on with those to be scored."""
    trained = method.info.training if method.info is not None else {}
    videos = [
        video
        for dataset, names in trained.get("videos", {}).items()
        if same_videos(dataset, request.dataset)
        for video in names
    ]
    return check_overlap(
        videos,
        {test.name: list(test.rows["video"]) for test in tests},
        allowed=request.allow_overlap,
    )
