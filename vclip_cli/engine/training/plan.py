"""What `vclip train` was asked for, and all that is decided before the first video is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli import __version__
from vclip_cli.common.errors import SpecError, UsageError
from vclip_cli.common.files import sha256_file
from vclip_cli.common.preprocessing import Preprocessing, reference_video_preprocessing
from vclip_cli.data.extra_labels import ExtraLabels, read_extra_labels
from vclip_cli.data.label_set import NATURAL, LabelSet
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import protocol_training
from vclip_cli.data.recipe import Optimizer, Recipe, Schedule
from vclip_cli.data.split import Split
from vclip_cli.engine.encoding.encoder import Encoder, known_precision, pick_device
from vclip_cli.engine.encoding.model import DEFAULT_BACKBONE, LoadedMethod, load_start
from vclip_cli.engine.encoding.settings import check_templates
from vclip_cli.engine.loading.datasets import (
    open_dataset,
    open_frames,
    require_draws,
    require_kept,
    require_large_enough,
)
from vclip_cli.engine.requests import Request, RunDocument
from vclip_cli.engine.training.augmentation import names_a_direction
from vclip_cli.engine.training.overrides import changed, check_fitting, override
from vclip_cli.engine.training.samples import TrainingItem, seed_of, steps_of
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

FOLLOWING = ("frames", "classes")
"""Options of a method that follow from the recipe and the split, and are not set by themselves."""


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """All that is decided before the first video is read."""

    request: Request
    protocol: Protocol
    dataset: Dataset
    videos_root: Path
    split: Split
    classes: tuple[str, ...]
    method: LoadedMethod
    recipe_name: str
    recipe: Recipe
    overrides: dict[str, Any]
    templates: tuple[str, ...]
    text: str
    seed: int
    flip: bool
    device: torch.device
    document: RunDocument
    folder: Path
    label_set: LabelSet
    extra: ExtraLabels | None
    store: FrameStore | None

    @property
    def encoder(self) -> Encoder:
        """The method, as it computes here."""
        compute = replace(self.request.compute, device=str(self.device))
        return Encoder(self.method.adapter, compute, self.request.workers)


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


def plan_run(request: Request) -> TrainingPlan:
    """Resolve names, the recipe and the split, load the weights, and refuse what cannot work."""
    data, training, compute = request.data, request.training, request.compute
    for value, what, example in (
        (data.protocol, "protocol", "--protocol few-shot"),
        (data.dataset, "dataset", "--dataset toy"),
        (request.model.method, "method", "--method vita-clip"),
    ):
        if value is None:
            raise UsageError(f"no {what} was named", hint=example)
    protocol = load_protocol(str(data.protocol))
    dataset = open_dataset(data.dataset)
    root = dataset.require_videos()
    device = pick_device(compute.device)
    known_precision(compute.precision)
    method_class = find_method(request.model.method or "clip")
    name, published = _recipe(request, protocol, method_class)
    recipe = _overridden(published, request, method_class)
    if method_class.fits:
        check_fitting(request, method_class, recipe, changed(published, recipe))
    elif recipe.optimizer is None or recipe.schedule is None:
        raise SpecError(f"the recipe {name!r} names no optimizer or no schedule")
    seed = request.run.seed if request.run.seed is not None else (protocol.seeds or [0])[0]
    split, classes = protocol_training(
        protocol,
        dataset,
        shots=data.shots,
        seed=request.run.seed,
        listed=data.train_list,
    )
    extra, label_set = None, dataset.label_set
    if training.extra_labels is not None:
        extra = read_extra_labels(training.extra_labels, dataset, classes)
        classes, label_set = (*classes, *extra.new), extra.extend(label_set)
    torch.manual_seed(seed_of("init", seed))  # new tensors of the method are drawn from it
    options = {**recipe.config, **_tied_options(method_class, recipe, classes)}
    method = load_start(
        replace(request.model, options=options),
        training.start_from,
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
    flip = training.flip if training.flip is not None else not names_a_direction(texts)
    resolved = request.change(
        model={"method": adapter.name},
        input={"frames": recipe.frames},
        training={"recipe": name, "flip": flip},
        run={"seed": seed},
    )
    sources: dict[str, Any] = {
        "vclip": __version__,
        "model": method.describe(),
        "protocol": protocol.sha256,
        "split": split.sha256,
        "manifest": dataset.manifest.sha256,
        "label_set": dataset.label_set.sha256,
        "classes": list(classes),
        "recipe": recipe.model_dump(mode="json"),
        "preprocessing": adapter.preprocessing.as_dict(),
        "templates": list(templates),
        "text": text,
        "start_from": sha256_file(training.start_from) if training.start_from else None,
        "decoder": store.settings.decoder if store else describe_decoder(request.input.decoder),
        "store": store.describe() if store else None,
        "device": device.type,
    }
    if extra is not None:
        sources["extra_labels"] = extra.sha256
    document = RunDocument("train", resolved, sources)
    folder = request.run.out or _default_folder(request, method, seed, document.sha256)
    return TrainingPlan(
        resolved, protocol, dataset, root, split, classes, method, name, recipe,
        changed(published, recipe), templates, text, seed, flip, device, document, folder,
        label_set, extra, store,
    )  # fmt: skip


def _open_store(
    request: Request, recipe: Recipe, preprocessing: Preprocessing
) -> FrameStore | None:
    """The store that was asked for, once it is known to keep what the recipe draws."""
    store = open_frames(request.input.frames_from, str(request.data.dataset), request.input.decoder)
    require_draws(store, recipe.frames, recipe.sampling.train)
    if request.training.select_on is not None:
        require_kept(store, Sampling(recipe.frames))
    require_large_enough(store, preprocessing, crops=1)
    return store


def recipe_of(request: Request, protocol: Protocol) -> Recipe:
    """The recipe that a request is carried out by, overrides included. Raises UsageError."""
    method_class = find_method(request.model.method or "clip")
    return _overridden(_recipe(request, protocol, method_class)[1], request, method_class)


def _overridden(published: Recipe, request: Request, method_class: type[Adapter]) -> Recipe:
    options = [name for name in _options(method_class) if name not in FOLLOWING]
    recipe = override(published, request.training.set, options)
    frames = {} if request.input.frames is None else {"frames": request.input.frames}
    return recipe.model_copy(update=frames)


def _recipe(
    request: Request, protocol: Protocol, method_class: type[Adapter]
) -> tuple[str, Recipe]:
    method: str = method_class.name
    if request.training.recipe is not None:
        recipe = protocol.recipe(request.training.recipe)
        if recipe.method != method:
            raise UsageError(
                f"the recipe {request.training.recipe!r} is for another method",
                found=recipe.method,
                expected=method,
            )
        return request.training.recipe, recipe
    return protocol.recipe_for(method, str(request.data.dataset)) or (
        "default",
        default_recipe(method, protocol, str(request.data.dataset), fits=method_class.fits),
    )


def _options(method_class: type[Adapter]) -> list[str]:
    import dataclasses

    return [entry.name for entry in dataclasses.fields(method_class.Config)]


def _tied_options(
    method_class: type[Adapter], recipe: Recipe, classes: Sequence[str]
) -> dict[str, Any]:
    """Options that follow from the data: the frames and the classes that weights are tied to."""
    known = _options(method_class)
    follows: dict[str, Any] = {}
    if "frames" in known:
        follows["frames"] = recipe.frames
    tied = recipe.config.get("class_specific") or "class_specific" not in known
    if tied and "classes" in known:
        follows["classes"] = tuple(classes)
    return follows


def _default_folder(request: Request, method: LoadedMethod, seed: int, sha256: str) -> Path:
    shots = f"_{request.data.shots}shots" if request.data.shots is not None else ""
    name = f"train_{method.adapter.name}{shots}_seed{seed}_{sha256[:10]}"
    return Path("runs") / Path(str(request.data.protocol)).stem / str(request.data.dataset) / name


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
    return items if plan.request.run.limit is None else items[: plan.request.run.limit]


def planned_training(plan: TrainingPlan) -> dict[str, Any]:
    """What `--dry-run` prints."""
    listed = plan.split.rows["video"].nunique()
    videos = min(listed, plan.request.run.limit or listed)
    fits = plan.method.adapter.fits  # how many steps it takes is the method's own affair
    steps, an_epoch = (None, None) if fits else steps_of(videos, plan.recipe)
    return {
        **plan.document.as_dict(),
        "out": str(plan.folder),
        "run_sha256": plan.document.sha256,
        "videos": videos,
        "classes": len(plan.classes),
        "steps": steps,
        "steps_an_epoch": an_epoch,
        "recipe_name": plan.recipe_name,
        "overrides": {key: list(values) for key, values in plan.overrides.items()},
    }


def headline(plan: TrainingPlan) -> str:
    """One line on what is trained, and one for each changed value of the recipe."""
    planned = planned_training(plan)
    steps = planned["steps"]
    changes = "".join(
        f"\n  † {key}: {used!r} instead of {published!r}"
        for key, (published, used) in plan.overrides.items()
    )
    length = "fitted on stored embeddings" if steps is None else f"{steps:,} steps"
    return (
        f"{plan.method.adapter.name} on {planned['videos']:,} videos of {planned['classes']}"
        f" classes: {length}, recipe {plan.recipe_name!r}, seed {plan.seed}{changes}"
    )
