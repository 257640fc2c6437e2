"""The plan of `vclip train`: all that is decided before the first video is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vclip_cli import __version__
from vclip_cli.common.errors import SpecError, UsageError
from vclip_cli.common.files import sha256_file
from vclip_cli.common.preprocessing import Preprocessing, reference_video_preprocessing
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.extra_labels import ExtraLabels, read_extra_labels
from vclip_cli.data.label_set import NATURAL
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import protocol_training
from vclip_cli.data.recipe import Optimizer, Recipe, Schedule
from vclip_cli.data.split import Split
from vclip_cli.engine.encoding.encoder import Encoder, resolve_compute
from vclip_cli.engine.encoding.model import DEFAULT_BACKBONE, LoadedMethod, load_start
from vclip_cli.engine.encoding.settings import class_prompts, resolve_settings
from vclip_cli.engine.loading.datasets import (
    open_dataset,
    open_frames,
    require_draws,
    require_kept,
    require_large_enough,
)
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.requests import Request, RunDocument
from vclip_cli.engine.specs import InputSpec
from vclip_cli.engine.training.augmentation import names_a_direction
from vclip_cli.engine.training.overrides import changed, check_fitting, override
from vclip_cli.engine.training.samples import (
    SampleReading,
    TrainingData,
    TrainingItem,
    seed_of,
    steps_of,
)
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling

FOLLOWING = ("frames", "classes")
"""Options of a method that follow from the recipe and the split, and are not set by themselves."""


@dataclass(frozen=True, eq=False)
class TrainingPlan:
    """All that is decided before the first video is read.

    request: the request with its names resolved; data: the videos, how they are read, and the
    recipe; overrides: key of the recipe to (published, used).
    """

    request: Request
    protocol: Protocol
    dataset: Dataset
    split: Split
    classes: tuple[str, ...]
    method: LoadedMethod
    encoder: Encoder
    data: TrainingData
    overrides: dict[str, Any]
    document: RunDocument
    folder: Path

    @property
    def recipe(self) -> Recipe:
        """The recipe, with what `--set` changed."""
        return self.data.reading.recipe

    @property
    def seed(self) -> int:
        """The seed that every draw is made from."""
        return self.data.reading.seed

    @property
    def steps(self) -> int | None:
        """Updates in all; None for a method that is fitted on stored embeddings in one go."""
        return None if self.method.adapter.fits else steps_of(len(self.data.items), self.recipe)[0]

    def video_set(
        self, videos: Sequence[ListedVideo], asked: InputSpec, stated: dict[str, Any] | None = None
    ) -> VideoSet:
        """Videos of the dataset, read as at the test; see `resolve_settings`."""
        trained = self.data.reading
        settings = resolve_settings(self.method.adapter, asked, planned=stated)
        reading = dataclasses.replace(settings.reading, store=trained.store)
        return VideoSet(trained.root, videos, reading, self.dataset.config.name)


def plan_run(request: Request) -> TrainingPlan:
    """Resolve names, the recipe and the split, load the weights, and refuse what cannot work."""
    data, training = request.data, request.training
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
    compute = resolve_compute(request.compute)
    name, published, recipe = choose_recipe(request, protocol)
    overrides = changed(published, recipe)
    method_class = find_method(recipe.method)
    if method_class.fits:
        check_fitting(request, method_class, recipe, overrides)
    elif recipe.optimizer is None or recipe.schedule is None:
        raise SpecError(f"the recipe {name!r} names no optimizer or no schedule")
    seed = request.run.seed if request.run.seed is not None else (protocol.seeds or [0])[0]
    split, classes = protocol_training(
        protocol, dataset, shots=data.shots, seed=request.run.seed, listed=data.train_list
    )
    extra, label_set = None, dataset.label_set
    if training.extra_labels is not None:
        extra = read_extra_labels(training.extra_labels, dataset, classes)
        classes, label_set = (*classes, *extra.new), extra.extend(label_set)
    torch.manual_seed(seed_of("init", seed))  # new tensors of the method are drawn from it
    method = load_start(
        dataclasses.replace(request.model, options=_method_options(method_class, recipe, classes)),
        training.start_from,
        dataset.config.backbone or recipe.backbone or DEFAULT_BACKBONE,
    )
    adapter = method.adapter
    size = adapter.preprocessing.size
    if recipe.preprocessing == "reference-video":
        adapter.preprocessing = reference_video_preprocessing(size)
    elif recipe.preprocessing == "clip":
        adapter.preprocessing = Preprocessing(size=size, resize_to=size)
    templates = tuple(recipe.text.templates or adapter.default_templates)
    text = recipe.text.variant or NATURAL
    if text not in dataset.label_set.variants:  # a paper's variant, for a person's own classes
        text = NATURAL
    prompts = class_prompts(label_set, classes, text, templates)
    store = _open_store(request, recipe, adapter.preprocessing)
    flip = training.flip
    if flip is None:
        flip = not names_a_direction(label_set.text(name, text) for name in classes)
    resolved = request.change(
        model={"method": adapter.name},
        input={"frames": recipe.frames},
        training={"recipe": name, "flip": flip},
        run={"seed": seed},
    )
    encoder = Encoder(adapter, compute, request.workers)
    decoder = request.input.decoder
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
        "decoder": store.settings.decoder if store else describe_decoder(decoder),
        "store": store.describe() if store else None,
        "device": encoder.device.type,
    }
    if extra is not None:
        sources["extra_labels"] = extra.sha256
    document = RunDocument("train", resolved, sources)
    shots = f"_{data.shots}shots" if data.shots is not None else ""
    named = f"train_{adapter.name}{shots}_seed{seed}"
    reading = SampleReading(root, recipe, adapter.preprocessing, seed, flip, decoder, store)
    return TrainingPlan(
        request=resolved,
        protocol=protocol,
        dataset=dataset,
        split=split,
        classes=classes,
        method=method,
        encoder=encoder,
        data=TrainingData(_items(request, dataset, split, classes, extra), reading, prompts),
        overrides=overrides,
        document=document,
        folder=request.run.out or document.default_folder(named),
    )


def _open_store(
    request: Request, recipe: Recipe, preprocessing: Preprocessing
) -> FrameStore | None:
    """The requested store, after a check that it keeps the frames that the recipe draws."""
    store = open_frames(request.input.frames_from, str(request.data.dataset), request.input.decoder)
    require_draws(store, recipe.frames, recipe.sampling.train)
    if request.training.select_on is not None:
        require_kept(store, Sampling(recipe.frames))
    require_large_enough(store, preprocessing, crops=1)
    return store


def choose_recipe(request: Request, protocol: Protocol) -> tuple[str, Recipe, Recipe]:
    """The name of a request's recipe, the recipe as published, and as used, with overrides.

    Raises UsageError for a recipe of another method, and for a wrong override.
    """
    method = find_method(request.model.method or "clip")
    name, dataset = request.training.recipe, str(request.data.dataset)
    if name is not None:
        published = protocol.recipe(name)
        if published.method != method.name:
            raise UsageError(
                f"the recipe {name!r} is for another method",
                found=published.method,
                expected=method.name,
            )
    else:
        found = protocol.recipe_for(method.name, dataset)
        name, published = found or ("default", _default_recipe(method, protocol, dataset))
    options = [option for option in _options(method) if option not in FOLLOWING]
    used = override(published, request.training.set, options)
    if request.input.frames is not None:
        used = used.model_copy(update={"frames": request.input.frames})
    return name, published, used


def _default_recipe(method: type[Adapter], protocol: Protocol, dataset: str) -> Recipe:
    """The recipe of a method without a published setting; `--set` can change it.

    A method fitted on stored embeddings is fitted as in its own paper.
    """
    trained: dict[str, Any] = {"batch_size": 1024}
    if not method.fits:
        trained = {
            "batch_size": 64,
            "optimizer": Optimizer(learning_rate=1e-3, weight_decay=0.01),
            "schedule": Schedule(epochs=10, warmup_epochs=1, final_fraction=0.01),
        }
    return Recipe(
        method=method.name,
        source="vclip's default: no published setting of this method under this protocol",
        frames=protocol.frames_for(dataset),
        **trained,
    )


def _options(method: type[Adapter]) -> list[str]:
    return [entry.name for entry in dataclasses.fields(method.Config)]


def _method_options(
    method: type[Adapter], recipe: Recipe, classes: Sequence[str]
) -> dict[str, Any]:
    """The recipe's options, with the frames and the classes that the weights are tied to."""
    known, options = _options(method), dict(recipe.config)
    if "frames" in known:
        options["frames"] = recipe.frames
    tied = recipe.config.get("class_specific") or "class_specific" not in known
    if tied and "classes" in known:
        options["classes"] = tuple(classes)
    return options


def _items(
    request: Request,
    dataset: Dataset,
    split: Split,
    classes: Sequence[str],
    extra: ExtraLabels | None,
) -> list[TrainingItem]:
    """The videos of the split, or the first `limit` of them, with the indices of their classes."""
    paths = dataset.manifest.rows.drop_duplicates("video").set_index("video")["path"]
    index = {name: position for position, name in enumerate(classes)}
    listed = list(zip(split.rows["video"], split.rows["class"], strict=True))
    if dataset.manifest.multi_label:
        labels: dict[str, list[int]] = {video: [] for video, _ in listed}
        for video, name in [*listed, *(extra.pairs if extra is not None else ())]:
            if video in labels and name in index and index[name] not in labels[video]:
                labels[video].append(index[name])
        items = [TrainingItem(v, str(paths[v]), tuple(found)) for v, found in labels.items()]
    else:
        items = [TrainingItem(video, str(paths[video]), index[name]) for video, name in listed]
    return items[: request.run.limit]


def planned_training(plan: TrainingPlan) -> dict[str, Any]:
    """What `--dry-run` prints."""
    videos = len(plan.data.items)
    return {
        **plan.document.as_dict(),
        "out": str(plan.folder),
        "run_sha256": plan.document.sha256,
        "videos": videos,
        "classes": len(plan.classes),
        "steps": plan.steps,
        "steps_an_epoch": None if plan.steps is None else steps_of(videos, plan.recipe)[1],
        "recipe_name": plan.request.training.recipe,
        "overrides": {key: list(values) for key, values in plan.overrides.items()},
    }


def headline(plan: TrainingPlan) -> str:
    """One line on what is trained, and one for each changed value of the recipe."""
    changes = "".join(
        f"\n  † {key}: {used!r} instead of {published!r}"
        for key, (published, used) in plan.overrides.items()
    )
    length = "fitted on stored embeddings" if plan.steps is None else f"{plan.steps:,} steps"
    return (
        f"{plan.method.adapter.name} on {len(plan.data.items):,} videos of {len(plan.classes)}"
        f" classes: {length}, recipe {plan.request.training.recipe!r}, seed {plan.seed}{changes}"
    )
