"""`vclip train`: from a protocol, a dataset and a method to a checkpoint."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli import __version__
from vclip_cli.data.label_set import NATURAL
from vclip_cli.data.overlap import check_overlap
from vclip_cli.data.plan import plan_tests, plan_training
from vclip_cli.data.protocol import Optimizer, Protocol, Recipe, Schedule, load_protocol
from vclip_cli.data.split import Split, write_split
from vclip_cli.engine.datasets import open_dataset, prepare_videos
from vclip_cli.engine.devices import known_precision, pick_device
from vclip_cli.engine.environment import package_facts
from vclip_cli.engine.methods import DEFAULT_BACKBONE, LoadedMethod, MethodRequest
from vclip_cli.engine.prompting import check_templates, class_prompts
from vclip_cli.engine.training.augmentation import is_side_sensitive
from vclip_cli.engine.training.loop import LoopOptions, TrainingData, fit, steps_of
from vclip_cli.engine.training.overrides import changed, override
from vclip_cli.engine.training.resume import STATE_FILE, ResumeState, read_state
from vclip_cli.engine.training.samples import SampleReading, TrainingItem, seed_of
from vclip_cli.engine.training.selection import Selector
from vclip_cli.engine.training.start import load_start
from vclip_cli.errors import DataError, UsageError
from vclip_cli.files import require_writable_folder, write_json, write_text
from vclip_cli.hashing import sha256_file, sha256_json
from vclip_cli.models.checkpoint import read_info, save_checkpoint
from vclip_cli.models.registry import find_method
from vclip_cli.preprocessing import reference_video_preprocessing
from vclip_cli.progress import Progress, no_progress
from vclip_cli.video.decoders import describe_decoder

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

CHECKPOINT_FILE = "checkpoint.safetensors"
LOSS_FILE = "loss.csv"
SPLIT_FILE = "train.csv"
RUN_FILE = "run.json"
FOLLOWING = ("frames", "classes")
"""Options of a method that follow from the recipe and the split, and are not set by themselves."""
STORED_IDS = 20_000
"""A checkpoint names the videos that it was trained on, for the overlap guard, up to so many."""


@dataclass(frozen=True)
class TrainingRequest:
    """What a person asked of `vclip train`.

    start_from: a checkpoint whose tensors training begins with; listed: a split file to train on
    instead of the protocol's own draw;
    settings: `key=value` overrides of the recipe; recipe: one by name, None for the method's own;
    select_on: a split whose top-1 chooses the epoch, None for the last epoch; batch_size: videos at
    once on a device; flip: None where the class texts decide.
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
    workers: int = 0
    decoder: str = "exact"
    limit: int | None = None
    gradient_checkpointing: bool = False
    allow_overlap: bool = False
    save_every: int = 50
    stop_after: int | None = None
    out: Path | None = None
    resume: bool = True


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

    @property
    def sha256(self) -> str:
        """The hash of everything that determines the weights."""
        return sha256_json(self.identity)


@dataclass(frozen=True)
class Trained:
    """A finished run: where its checkpoint lies, its last loss, what selection chose, and whether
    an earlier run had made it."""

    checkpoint: Path
    steps: int
    loss: float
    selected: dict[str, Any]
    failures: dict[str, list[str]]
    reused: bool


def default_recipe(method: str, protocol: Protocol, dataset: str) -> Recipe:
    """What a method without a published setting is trained with, until `--set` says otherwise."""
    return Recipe(
        method=method,
        source="vclip's default: no published setting of this method under this protocol",
        frames=protocol.frames_for(dataset),
        batch_size=64,
        optimizer=Optimizer(learning_rate=1e-3, weight_decay=0.01),
        schedule=Schedule(epochs=10, warmup_epochs=1, final_fraction=0.01),
    )


def plan_run(request: TrainingRequest) -> TrainingPlan:
    """Resolve names, the recipe and the split, load the weights, and refuse what cannot work."""
    protocol = load_protocol(request.protocol)
    dataset = open_dataset(request.dataset)
    if dataset.videos_root is None:
        raise DataError(f"the dataset {request.dataset!r} was registered without videos")
    device = pick_device(request.device)
    known_precision(request.precision)
    method_class = find_method(request.method.method or "clip")
    name, published = _recipe(request, protocol, method_class.name)
    options_of_method = [name for name in _options(method_class) if name not in FOLLOWING]
    recipe = override(published, request.settings, options_of_method)
    if request.frames is not None:
        recipe = recipe.model_copy(update={"frames": request.frames})
    seed = request.seed if request.seed is not None else (protocol.seeds or [0])[0]
    split, classes = plan_training(
        protocol, dataset, shots=request.shots, seed=request.seed, listed=request.listed
    )
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
    templates = tuple(recipe.text.templates or adapter.default_templates)
    check_templates(templates)
    text = recipe.text.variant or NATURAL
    if text not in dataset.label_set.variants:  # a paper's variant, for a person's own classes
        text = NATURAL
    texts = [dataset.label_set.text(name, text) for name in classes]
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
        "decoder": describe_decoder(request.decoder),
        "precision": request.precision,
        "flip": flip,
        "device": device.type,
        "limit": request.limit,
        "select_on": request.select_on,
    }
    folder = request.out or _default_folder(request, method, seed, sha256_json(identity))
    return TrainingPlan(
        request, protocol, dataset, split, classes, method, name, recipe,
        changed(published, recipe), templates, text, seed, device, identity, folder,
    )  # fmt: skip


def _recipe(request: TrainingRequest, protocol: Protocol, method: str) -> tuple[str, Recipe]:
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
        default_recipe(method, protocol, request.dataset),
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
    if recipe.config.get("class_specific") and "classes" in known:
        follows["classes"] = tuple(classes)
    return follows


def _default_folder(request: TrainingRequest, method: LoadedMethod, seed: int, sha256: str) -> Path:
    shots = f"_{request.shots}shots" if request.shots is not None else ""
    name = f"train_{method.adapter.name}{shots}_seed{seed}_{sha256[:10]}"
    return Path("runs") / Path(request.protocol).stem / request.dataset / name


def train(plan: TrainingPlan, *, progress: Progress = no_progress) -> Trained:
    """Train, or go on from an interrupted run, and write the checkpoint.

    Raises ComparisonRefused when training and test videos overlap, UsageError when the folder holds
    another run.
    """
    request, adapter = plan.request, plan.method.adapter
    _guard_overlap(plan)
    require_writable_folder(plan.folder)
    if not request.resume:
        (plan.folder / STATE_FILE).unlink(missing_ok=True)
        for name in (RUN_FILE, CHECKPOINT_FILE, LOSS_FILE):
            (plan.folder / name).unlink(missing_ok=True)
    elif (finished := _finished(plan)) is not None:
        return finished
    write_json(plan.folder / RUN_FILE, {"sha256": plan.sha256, "finished": None, **plan.identity})
    write_split(plan.split, plan.folder / SPLIT_FILE)
    items = _items(plan)
    prepare_videos(request.dataset, [item.video for item in items], progress=progress)
    adapter.to(plan.device)
    adapter.freeze_all_but_trainable()
    adapter.gradient_checkpointing = request.gradient_checkpointing
    label_set = plan.dataset.label_set
    assert plan.dataset.videos_root is not None  # checked by plan_run
    data = TrainingData(
        root=plan.dataset.videos_root,
        items=items,
        reading=SampleReading(
            plan.recipe, adapter.preprocessing, plan.seed, plan.identity["flip"], request.decoder
        ),
        prompts=class_prompts(label_set, plan.classes, plan.text, plan.templates),
    )
    state = read_state(plan.folder, plan.sha256) or ResumeState(plan.sha256, 0, {}, {})
    selector = Selector.build(plan, progress) if request.select_on else None
    started = time.perf_counter()
    state = fit(
        adapter,
        data,
        plan.recipe,
        _accelerator(plan),
        LoopOptions(
            plan.folder, request.batch_size, request.workers, request.save_every, request.stop_after
        ),
        state,
        after_epoch=selector.look if selector is not None else None,
        progress=progress,
    )
    write_text(plan.folder / LOSS_FILE, _loss_table(state.losses))
    return _finish(plan, state, time.perf_counter() - started)


def _accelerator(plan: TrainingPlan) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mixed = "no" if plan.request.precision == "fp32" else plan.request.precision
    if plan.device.type == "cuda" and plan.device.index is not None:
        torch.cuda.set_device(plan.device)
    # The library keeps one state a process; a second run in it may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=mixed, cpu=plan.device.type == "cpu")


def _guard_overlap(plan: TrainingPlan) -> None:
    tests = plan_tests(plan.protocol, plan.dataset)
    check_overlap(
        set(plan.split.rows["video"]),
        {test.name: list(test.rows["video"]) for test in tests},
        allowed=plan.request.allow_overlap,
    )


def _items(plan: TrainingPlan) -> list[TrainingItem]:
    rows = plan.dataset.manifest.rows.drop_duplicates("video").set_index("video")["path"]
    index = {name: position for position, name in enumerate(plan.classes)}
    listed = zip(plan.split.rows["video"], plan.split.rows["class"], strict=True)
    items = [TrainingItem(video, str(rows[video]), index[name]) for video, name in listed]
    return items if plan.request.limit is None else items[: plan.request.limit]


def _loss_table(losses: Sequence[Sequence[float]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["step", "loss", "learning_rate"])
    writer.writerows((int(step), repr(loss), repr(rate)) for step, loss, rate in losses)
    return stream.getvalue()


def _finish(plan: TrainingPlan, state: ResumeState, seconds: float) -> Trained:
    steps, _ = steps_of(len(_items(plan)), plan.recipe)
    loss = state.losses[-1][1] if state.losses else float("nan")
    if state.step < steps:
        return Trained(plan.folder / STATE_FILE, state.step, loss, {}, state.failures, False)
    selected = {key: value for key, value in state.best.items() if key != "tensors"}
    trained = _trained_videos(plan)
    digest = save_checkpoint(
        plan.folder / CHECKPOINT_FILE,
        plan.method.adapter,
        base_sha256=plan.method.backbone["weights_sha256"],
        tensors=_tensors(plan, state),
        templates=list(plan.templates),
        training={
            "package": package_facts(),
            "run_sha256": plan.sha256,
            "protocol": plan.protocol.reference.model_dump(),
            "dataset": plan.request.dataset,
            "split_sha256": plan.split.sha256,
            "videos": {name: ids for name, ids in trained.items() if ids},
            "unlisted": [name for name, ids in trained.items() if not ids],
            "trained_on": len(_items(plan)),
            "flip": plan.identity["flip"],
            "decoder": plan.identity["decoder"],
            "precision": plan.request.precision,
            "classes": list(plan.classes),
            "recipe_name": plan.recipe_name,
            "recipe": plan.recipe.model_dump(mode="json"),
            "overrides": {key: list(values) for key, values in plan.overrides.items()},
            "start_from": plan.identity["start_from"],
            "shots": plan.split.provenance.shots,
            "seed": plan.seed,
            "steps": steps,
            "loss": loss,
            "selected": selected,
            "partial": plan.request.limit is not None,
            "failures": state.failures,
            "evaluation": {
                "frames": plan.recipe.frames,
                "clips": plan.recipe.views.clips,
                "crops": plan.recipe.views.crops,
                "rule": plan.recipe.sampling.test,
                "stride": plan.recipe.sampling.stride
                if plan.recipe.sampling.test == "dense"
                else 1,
                "text": plan.text,
            },
        },
    )
    ended = {"checkpoint_sha256": digest, "steps": steps, "loss": loss, "selected": selected}
    write_json(
        plan.folder / RUN_FILE,
        {"sha256": plan.sha256, "finished": ended, "seconds": round(seconds, 1), **plan.identity},
    )
    (plan.folder / STATE_FILE).unlink(missing_ok=True)
    return Trained(
        plan.folder / CHECKPOINT_FILE, steps, loss, selected, state.failures, reused=False
    )


def _trained_videos(plan: TrainingPlan) -> dict[str, list[str]]:
    """The ids by dataset that these weights have seen, the checkpoint's that training began with
    among them; an empty list stands for more than can be stored."""
    start = plan.request.start_from
    before = read_info(start).training if start is not None else {}
    seen = {name: set(ids) for name, ids in before.get("videos", {}).items()}
    too_many = set(before.get("unlisted", []))
    name = plan.request.dataset
    seen[name] = seen.get(name, set()) | set(plan.split.rows["video"])
    too_many |= {name for name, ids in seen.items() if len(ids) > STORED_IDS}
    return {
        name: [] if name in too_many else sorted(seen.get(name, ())) for name in {*seen, *too_many}
    }


def _tensors(plan: TrainingPlan, state: ResumeState) -> dict[str, torch.Tensor]:
    """What the checkpoint holds: what trained, as selection chose it, and what is carried along."""
    return {**plan.method.adapter.stored(), **state.best.get("tensors", {})}


def _finished(plan: TrainingPlan) -> Trained | None:
    """An earlier, equal run that came to its end with the checkpoint that it says."""
    path = plan.folder / RUN_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same, ended = found["sha256"] == plan.sha256, found.get("finished")
    except (ValueError, KeyError, TypeError, OSError):
        same, ended = False, None
    if not same:
        raise UsageError(
            "the output folder holds a run with other settings",
            where=str(plan.folder),
            hint="choose another with --out, or replace it with --no-resume",
        )
    checkpoint = plan.folder / CHECKPOINT_FILE
    if not ended or not checkpoint.is_file():
        return None
    if sha256_file(checkpoint) != ended["checkpoint_sha256"]:
        return None
    return Trained(checkpoint, ended["steps"], ended["loss"], ended["selected"], {}, reused=True)
