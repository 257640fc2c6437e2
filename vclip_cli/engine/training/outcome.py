"""What a training run leaves behind: the checkpoint, the losses, and the state it resumes from."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vclip_cli.common.errors import UsageError, WeightsError
from vclip_cli.common.files import sha256_file, whole_file, write_json
from vclip_cli.engine.encoding.settings import recipe_views
from vclip_cli.engine.runs.diagnosis import package_facts
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.training.plan import TrainingPlan, training_items
from vclip_cli.engine.training.samples import steps_of
from vclip_cli.models.checkpoint import read_info, save_checkpoint
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import read_tensor_file, write_tensor_file

if TYPE_CHECKING:
    import pandas as pd

CHECKPOINT_FILE = "checkpoint.safetensors"
LOSS_FILE = "loss.csv"
RUN_FILE = "run.json"
STORED_IDS = 20_000
"""A checkpoint names the videos that it was trained on, for the overlap guard, up to so many."""


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """A finished run.

    checkpoint: the file, or the saved state of a run that stopped early; steps, loss: the last
    ones; selected: what `--select-on` chose; failures: training videos that could not be read, with
    path and reason; reused: whether an earlier run had made it.
    """

    plan: TrainingPlan
    checkpoint: Path
    steps: int
    loss: float
    selected: dict[str, Any]
    failures: dict[str, list[str]]
    reused: bool

    def __repr__(self) -> str:
        """The method and its checkpoint, for a notebook."""
        return f"<TrainingRun {self.plan.method.adapter.name}: {self.checkpoint}>"

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "method": self.plan.method.adapter.name,
            "checkpoint": str(self.checkpoint),
            "steps": self.steps,
            "loss": self.loss,
            "selected": self.selected,
            "failures": self.failures,
            "seed": self.plan.seed,
            "split_sha256": self.plan.split.sha256,
            "reused": self.reused,
        }

    @property
    def log(self) -> pd.DataFrame:
        """Step, loss and learning rate of every update."""
        import pandas as pd

        return pd.read_csv(self.checkpoint.with_name(LOSS_FILE))


def loss_table(losses: Sequence[Sequence[float]]) -> str:
    """The loss and the rate of every step, as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["step", "loss", "learning_rate"])
    writer.writerows((int(step), repr(loss), repr(rate)) for step, loss, rate in losses)
    return stream.getvalue()


def finish(plan: TrainingPlan, state: ResumeState, seconds: float) -> TrainingRun:
    """Write the checkpoint of a run that came to its end; the state alone of one that did not.

    Raises StorageError.
    """
    fitted = plan.method.adapter.fits  # in one go: there is no half of it
    steps = state.step if fitted else steps_of(len(training_items(plan)), plan.recipe)[0]
    loss = state.losses[-1][1] if state.losses else float("nan")
    if state.step < steps:
        return TrainingRun(
            plan, plan.folder / STATE_FILE, state.step, loss, {}, state.failures, False
        )
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
            "run_sha256": plan.document.sha256,
            "settings": plan.document.identity["settings"],
            "protocol": plan.protocol.reference.model_dump(),
            "dataset": plan.dataset.config.name,
            "split_sha256": plan.split.sha256,
            "videos": {name: ids for name, ids in trained.items() if ids},
            "unlisted": [name for name, ids in trained.items() if not ids],
            "trained_on": len(training_items(plan)),
            "flip": plan.flip,
            "decoder": plan.document.sources["decoder"],
            "store": plan.document.sources["store"],
            "precision": plan.request.compute.precision,
            "computed": how_computed(plan),
            "classes": list(plan.classes),
            "recipe_name": plan.recipe_name,
            "recipe": plan.recipe.model_dump(mode="json"),
            "overrides": {key: list(values) for key, values in plan.overrides.items()},
            "start_from": plan.document.sources["start_from"],
            "shots": plan.split.provenance.shots,
            "seed": plan.seed,
            "steps": steps,
            "loss": loss,
            "selected": selected,
            "partial": plan.request.run.limit is not None,
            "failures": state.failures,
            "extra_labels": plan.document.sources.get("extra_labels"),
            **({"probability": state.probability} if state.probability else {}),
            "evaluation": {
                **recipe_views(plan.recipe),
                "text": plan.text,
            },
        },
    )
    ended = {"checkpoint_sha256": digest, "steps": steps, "loss": loss, "selected": selected}
    write_json(
        plan.folder / RUN_FILE,
        {
            **plan.document.as_dict(),
            "finished": ended,
            "seconds": round(seconds, 1),
            "computed": how_computed(plan),
        },
    )
    (plan.folder / STATE_FILE).unlink(missing_ok=True)
    return TrainingRun(
        plan, plan.folder / CHECKPOINT_FILE, steps, loss, selected, state.failures, reused=False
    )


def how_computed(plan: TrainingPlan) -> dict[str, Any]:
    """What changes the weights by rounding alone: recorded, and no part of the run's identity."""
    return {
        "processes": launched_shard().count,
        "gradient_checkpointing": plan.request.compute.gradient_checkpointing,
        "compiled": plan.request.compute.compile,
    }


def _trained_videos(plan: TrainingPlan) -> dict[str, list[str]]:
    """The ids by dataset that these weights have seen, the checkpoint's that training began with
    among them; an empty list stands for more than can be stored."""
    start = plan.request.training.start_from
    before = read_info(start).training if start is not None else {}
    seen = {name: set(ids) for name, ids in before.get("videos", {}).items()}
    too_many = set(before.get("unlisted", []))
    name = plan.dataset.config.name
    seen[name] = seen.get(name, set()) | set(plan.split.rows["video"])
    too_many |= {name for name, ids in seen.items() if len(ids) > STORED_IDS}
    return {
        name: [] if name in too_many else sorted(seen.get(name, ())) for name in {*seen, *too_many}
    }


def _tensors(plan: TrainingPlan, state: ResumeState) -> dict[str, torch.Tensor]:
    """What the checkpoint holds: what trained, as selection chose it, and what is carried along."""
    return {**plan.method.adapter.checkpoint_tensors(), **state.best.get("tensors", {})}


def finished_run(plan: TrainingPlan) -> TrainingRun | None:
    """An earlier, equal run that came to its end with the checkpoint that it says."""
    path = plan.folder / RUN_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same, ended = found["sha256"] == plan.document.sha256, found.get("finished")
    except (ValueError, KeyError, TypeError, OSError, RecursionError):
        same, ended = False, None
    if not same:
        raise UsageError(
            "the output folder holds a run with other settings",
            where=str(plan.folder),
            hint="choose another with --out, or replace it with --no-resume",
        )
    checkpoint = plan.folder / CHECKPOINT_FILE
    kept = ("checkpoint_sha256", "steps", "loss", "selected")
    if not isinstance(ended, dict) or not ended.keys() >= {*kept} or not checkpoint.is_file():
        return None
    if sha256_file(checkpoint) != ended["checkpoint_sha256"]:
        return None
    return TrainingRun(
        plan, checkpoint, ended["steps"], ended["loss"], ended["selected"], {}, reused=True
    )


STATE_FILE = "resume.pt"


@dataclass
class ResumeState:
    """Everything after `step` whole updates.

    It holds no state of random generators: every draw is seeded by what it is for (the epoch and
    the video, or the step), so the step is enough. losses: rows of (step, loss, rate); best: the
    best epoch so far, where epochs are selected; probability: slope and bias of the sigmoid in a
    multi-label loss.
    """

    run_sha256: str
    step: int
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    losses: list[list[float]] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    probability: dict[str, float] = field(default_factory=dict)

    def capture(self, adapter: Adapter, optimizer: Any, accelerator: Accelerator) -> None:
        """Copy what trains, the optimizer and the scaler of gradients into the state."""
        self.tensors = trained_tensors(adapter)
        self.optimizer = optimizer.state_dict()
        if accelerator.scaler is not None:
            self.scaler = accelerator.scaler.state_dict()

    def restore(self, adapter: Adapter, optimizer: Any, accelerator: Accelerator) -> None:
        """Copy the state back; before the first step there is nothing to copy."""
        if self.step == 0:
            return
        with torch.no_grad():
            for name, entry in adapter.trainable().items():
                entry.parameter.copy_(self.tensors[name])
        optimizer.load_state_dict(self.optimizer)
        if accelerator.scaler is not None and self.scaler:
            accelerator.scaler.load_state_dict(self.scaler)


def trained_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """A copy of what trains, on the CPU."""
    return {
        name: entry.parameter.detach().cpu().clone() for name, entry in adapter.trainable().items()
    }


def write_state(folder: Path, state: ResumeState) -> None:
    """Write the state, whole or not at all. Raises StorageError."""
    with whole_file(folder / STATE_FILE) as temporary:
        write_tensor_file(vars(state), temporary)


def read_state(folder: Path, run_sha256: str) -> ResumeState | None:
    """The state of an interrupted run with exactly these settings; None when there is none.

    Raises WeightsError when the file is damaged or belongs to other settings.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    content = read_tensor_file(path)
    try:
        state = ResumeState(**content)
        whole = isinstance(state.step, int) and isinstance(state.losses, list)
        whole &= all(
            isinstance(part, dict) for part in (state.tensors, state.optimizer, state.best)
        )
    except TypeError:
        whole = False
    if not whole:
        raise WeightsError(
            "the file is not a resume state",
            where=str(path),
            hint="delete it, or start again with --no-resume",
        )
    if state.run_sha256 != run_sha256:
        raise WeightsError(
            "the resume state belongs to a run with other settings",
            where=str(path),
            hint="choose another --out, or start again with --no-resume",
        )
    return state
