"""What `vclip train` was asked for, and all that is decided before the first video is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli import __version__
from vclip_cli.common.errors import DataError, SpecError, UsageError
from vclip_cli.common.files import sha256_file, sha256_json
from vclip_cli.common.preprocessing import Preprocessing, reference_video_preprocessing
from vclip_cli.data.extra_labels import ExtraLabels, read_extra_labels
from vclip_cli.data.label_set import NATURAL, LabelSet
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import protocol_training
from vclip_cli.data.recipe import Optimizer, Recipe, Schedule
from vclip_cli.data.split import Split
from vclip_cli.engine.encoding.devices import known_precision, pick_device
from vclip_cli.engine.encoding.model import DEFAULT_BACKBONE, LoadedMethod, MethodRequest
from vclip_cli.engine.encoding.prompts import check_templates
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.loading.frame_source import (
    SOURCE,
    open_frames,
    require_draws,
    require_kept,
    require_large_enough,
)
from vclip_cli.engine.loading.workers import UNGUARDED, Guard
from vclip_cli.engine.training.augmentation import is_side_sensitive
from vclip_cli.engine.training.embedded import check_fitting
from vclip_cli.engine.training.overrides import changed, override
from vclip_cli.engine.training.samples import TrainingItem
from vclip_cli.engine.training.start import load_start
from vclip_cli.engine.training.updates import seed_of
from vclip_cli.models.registry import find_method
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

FOLLOWING = ("frames", "classes")
"""Options of a method that follow from the recipe and the split, and are not set by themselves."""


@dataclass(frozen=True)
class TrainingRequest:
    """What a person asked of `vclip train`.

    start_from: a checkpoint whose tensors training begins with; listed: a split file to train on
    instead of the protocol's own draw;
    frames_from: `source`, `store`, or a store's folder;
    settings: `key=value` overrides of the recipe; recipe: one by name, None for the method's own;
    select_on: a split whose top-1, or mAP, chooses the epoch, None for the last; batch_size: videos
    at once on a device; gradient_checkpointing, compiled: less memory, other kernels, for the same
    updates but for rounding, so that they are no part of a run's identity; flip: None where the
    class texts decide; cache: reuse and keep embeddings; extra_labels: a CSV `video,label` with
    labels beside the dataset's own.
    """

    protocol: str
    dataset: str
    method: MethodRequest = field(default_factory=MethodRequest)
    start_from: Path | None = None
    recipe: str | None = None
    settings: tuple[str, ...] = ()
    shots: int | None = None
    seed: int | None = None
    listed: Path | None = None
    frames: int | None = None
    select_on: str | None = None
    flip: bool | None = None
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int = 8
    guard: Guard = UNGUARDED
    decoder: str = "exact"
    frames_from: str = SOURCE
    limit: int | None = None
    gradient_checkpointing: bool = False
    compiled: bool = False
    allow_overlap: bool = False
    save_every: int = 50
    stop_after: int | None = None
    out: Path | None = None
    resume: bool = True
    cache: bool = True
    extra_labels: Path | None = None


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """All that is decided before the first video is read."""

    request: TrainingRequest
    protocol: Protocol
    dataset: Dataset
    split: Split
    classes: tuple[str, ...]
    method: LoadedMethod
    recipe_name: str
    recipe: Recipe
    overrides: dict[str, Any]
    templates: tuple[str, ...]
    text: str
    seed: int
    device: torch.device
    identity: dict[str, Any]
    folder: Path
    label_set: LabelSet
    extra: ExtraLabels | None
    store: FrameStore | None = None

    @property
    def sha256(self) -> str:
        """The hash of everything that determines the weights."""
        return sha256_json(self.identity)


def default_recipe(method: str, protocol: Protocol, dataset: str, *, fits: bool = False) -> Recipe:
    """What a method without a published setting is trained with, until `--set` says otherwise.

    fits: it is fitted on stored embeddings, in the way of its own paper.
    """
    plain = Recipe(
        method=method,
        source="vclip's default: no published setting of this method under this protocol",
        frames=protocol.frames_for(dataset),
        batch_size=1024 if fits else 64,
    )
    if fits:
        return plain
    optimizer = Optimizer(learning_rate=1e-3, weight_decay=0.01)
    schedule = Schedule(epochs=10, warmup_epochs=1, final_fraction=0.01)
    return plain.model_copy(update={"optimizer": optimizer, "schedule": schedule})


def plan_run(request: TrainingRequest) -> TrainingPlan:
    """Resolve names, the recipe and the split, load the weights, and refuse what cannot work."""
    protocol = load_protocol(request.protocol)
    dataset = open_dataset(request.dataset)
    if dataset.videos_root is None:
        raise DataError(f"the dataset {request.dataset!r} was registered without videos")
    device = pick_device(request.device)
    known_precision(request.precision)
    method_class = find_method(request.method.method or "clip")
    name, published = _recipe(request, protocol, method_class)
    recipe = _overridden(published, request, method_class)
    if method_class.fits:
        check_fitting(request, method_class, recipe, changed(published, recipe))
    elif recipe.optimizer is None or recipe.schedule is None:
        raise SpecError(f"the recipe {name!r} names no optimizer or no schedule")
    seed = request.seed if request.seed is not None else (protocol.seeds or [0])[0]
    split, classes = protocol_training(
        protocol, dataset, shots=request.shots, seed=request.seed, listed=request.listed
    )
    extra, label_set = None, dataset.label_set
    if request.extra_labels is not None:
        extra = read_extra_labels(request.extra_labels, dataset, classes)
        classes, label_set = (*classes, *extra.new), extra.extend(label_set)
    torch.manual_seed(seed_of("init", seed))  # new tensors of the method are drawn from it
    options = {**recipe.config, **_tied_options(method_class, recipe, classes)}
    method = load_start(
        replace(request.method, options=options),
        request.start_from,
        dataset.config.backbone or recipe.backbone or DEFAULT_BACKBONE,
    )
    adapter = method.adapter
    if recipe.preprocessing == "reference-video":
        adapter.preprocessing = reference_video_preprocessing(adapter.preprocessing.size)
    elif recipe.preprocessing == "clip":
        size = adapter.preprocessing.size
        adapter.preprocessing = Preprocessing(size=size, resize_to=size)
    templates = tuple(recipe.text.templates or adapter.default_templates)
    check_templates(templates)
    text = recipe.text.variant or NATURAL
    if text not in dataset.label_set.variants:  # a paper's variant, for a person's own classes
        text = NATURAL
    texts = [label_set.text(name, text) for name in classes]
    store = _open_store(request, recipe, adapter.preprocessing)
    flip = request.flip if request.flip is not None else not is_side_sensitive(texts)
    identity = {
        **method.describe(),
        "vclip": __version__,
        "protocol": protocol.sha256,
        "split": split.sha256,
        "manifest": dataset.manifest.sha256,
        "label_set": dataset.label_set.sha256,
        "classes": list(classes),
        "recipe": recipe.model_dump(mode="json"),
        "preprocessing": adapter.preprocessing.as_dict(),
        "templates": list(templates),
        "text": text,
        "start_from": sha256_file(request.start_from) if request.start_from else None,
        "seed": seed,
        "decoder": store.settings.decoder if store else describe_decoder(request.decoder),
        "store": store.describe() if store else None,
        "precision": request.precision,
        "flip": flip,
        "device": device.type,
        "limit": request.limit,
        "select_on": request.select_on,
    }
    if extra is not None:
        identity["extra_labels"] = extra.sha256
    folder = request.out or _default_folder(request, method, seed, sha256_json(identity))
    return TrainingPlan(
        request, protocol, dataset, split, classes, method, name, recipe,
        changed(published, recipe), templates, text, seed, device, identity, folder,
        label_set, extra, store,
    )  # fmt: skip


def _open_store(
    request: TrainingRequest, recipe: Recipe, preprocessing: Preprocessing
) -> FrameStore | None:
    """The store that was asked for, once it is known to keep what the recipe draws."""
    store = open_frames(request.frames_from, request.dataset, request.decoder)
    require_draws(store, recipe.frames, recipe.sampling.train)
    if request.select_on is not None:
        require_kept(store, Sampling(recipe.frames))
    require_large_enough(store, preprocessing, crops=1)
    return store


def recipe_of(request: TrainingRequest, protocol: Protocol) -> Recipe:
    """The recipe that a request is carried out by, overrides included. Raises UsageError."""
    method_class = find_method(request.method.method or "clip")
    return _overridden(_recipe(request, protocol, method_class)[1], request, method_class)


def _overridden(published: Recipe, request: TrainingRequest, method_class: type) -> Recipe:
    options = [name for name in _options(method_class) if name not in FOLLOWING]
    recipe = override(published, request.settings, options)
    frames = {} if request.frames is None else {"frames": request.frames}
    return recipe.model_copy(update=frames)


def _recipe(request: TrainingRequest, protocol: Protocol, method_class: type) -> tuple[str, Recipe]:
    method: str = method_class.name
    if request.recipe is not None:
        recipe = protocol.recipe(request.recipe)
        if recipe.method != method:
            raise UsageError(
                f"the recipe {request.recipe!r} is for another method",
                found=recipe.method,
                expected=method,
            )
        return request.recipe, recipe
    return protocol.recipe_for(method, request.dataset) or (
        "default",
        default_recipe(method, protocol, request.dataset, fits=method_class.fits),
    )


def _options(method_class: type) -> list[str]:
    import dataclasses

    return [entry.name for entry in dataclasses.fields(method_class.Config)]


def _tied_options(method_class: type, recipe: Recipe, classes: Sequence[str]) -> dict[str, Any]:
    """Options that follow from the data: the frames and the classes that weights are tied to."""
    known = _options(method_class)
    follows: dict[str, Any] = {}
    if "frames" in known:
        follows["frames"] = recipe.frames
    tied = recipe.config.get("class_specific") or "class_specific" not in known
    if tied and "classes" in known:
        follows["classes"] = tuple(classes)
    return follows


def _default_folder(request: TrainingRequest, method: LoadedMethod, seed: int, sha256: str) -> Path:
    shots = f"_{request.shots}shots" if request.shots is not None else ""
    name = f"train_{method.adapter.name}{shots}_seed{seed}_{sha256[:10]}"
    return Path("runs") / Path(request.protocol).stem / request.dataset / name


def training_items(plan: TrainingPlan) -> list[TrainingItem]:
    """The videos of the split, or the first `limit` of them, with the indices of their classes."""
    rows = plan.dataset.manifest.rows.drop_duplicates("video").set_index("video")["path"]
    index = {name: position for position, name in enumerate(plan.classes)}
    listed = zip(plan.split.rows["video"], plan.split.rows["class"], strict=True)
    if plan.dataset.manifest.multi_label:
        labels: dict[str, list[int]] = {}
        for video, name in listed:
            labels.setdefault(video, []).extend([index[name]] if name in index else [])
        for video, name in plan.extra.pairs if plan.extra is not None else ():
            if video in labels and index[name] not in labels[video]:
                labels[video].append(index[name])
        items = [TrainingItem(v, str(rows[v]), tuple(found)) for v, found in labels.items()]
    else:
        items = [TrainingItem(video, str(rows[video]), index[name]) for video, name in listed]
    return items if plan.request.limit is None else items[: plan.request.limit]
