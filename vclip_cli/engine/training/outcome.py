"""The output of a training run: the checkpoint, the losses, and the resume state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from torch import Tensor

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.files import sha256_file, whole_file, write_json
from vclip_cli.engine.encoding.settings import recipe_views
from vclip_cli.engine.requests import RUN_FILE
from vclip_cli.engine.runs.diagnosis import package_facts
from vclip_cli.engine.runs.parts import FailedVideo
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.training.plan import TrainingPlan
from vclip_cli.models.checkpoint import read_info, save_checkpoint
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import read_tensor_file, write_tensor_file

CHECKPOINT_FILE = "checkpoint.safetensors"
LOSS_FILE = "loss.csv"
STATE_FILE = "resume.pt"
STORED_IDS = 20_000
"""The most training videos that a checkpoint lists for the overlap check."""


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
    selected: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    reused: bool = False

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
        return pd.read_csv(self.checkpoint.with_name(LOSS_FILE))


def finish(plan: TrainingPlan, state: ResumeState, seconds: float) -> TrainingRun:
    """Write the checkpoint of a finished run; for an early stop, name the saved state instead.

    Raises StorageError.
    """
    loss = state.losses[-1][1] if state.losses else float("nan")
    if plan.steps is not None and state.step < plan.steps:
        path = plan.folder / STATE_FILE
        return TrainingRun(plan, path, state.step, loss, failures=state.failures)
    path, sources = plan.folder / CHECKPOINT_FILE, plan.document.sources
    selected = {key: value for key, value in state.best.items() if key != "tensors"}
    ended: dict[str, Any] = {"steps": state.step, "loss": loss, "selected": selected}
    compute = plan.request.compute
    computed = {  # changes the weights by rounding alone, so it is no part of the run's identity
        "processes": launched_shard().count,
        "gradient_checkpointing": compute.gradient_checkpointing,
        "compiled": compute.compile,
    }
    digest = save_checkpoint(
        path,
        plan.method.adapter,
        base_sha256=plan.method.backbone["weights_sha256"],
        tensors={**plan.method.adapter.checkpoint_tensors(), **state.best.get("tensors", {})},
        templates=sources["templates"],
        training={
            "package": package_facts(),
            "run_sha256": plan.document.sha256,
            "settings": plan.document.identity["settings"],
            "protocol": plan.protocol.reference.model_dump(),
            "dataset": plan.dataset.config.name,
            "split_sha256": plan.split.sha256,
            **_trained_videos(plan),
            "trained_on": len(plan.data.items),
            "flip": plan.request.training.flip,
            "precision": compute.precision,
            "computed": computed,
            **{name: sources[name] for name in ("decoder", "store", "classes", "recipe")},
            "recipe_name": plan.request.training.recipe,
            "overrides": {key: list(values) for key, values in plan.overrides.items()},
            "start_from": sources["start_from"],
            "shots": plan.split.provenance.shots,
            "seed": plan.seed,
            **ended,
            "partial": plan.request.run.limit is not None,
            "failures": state.failures,
            "extra_labels": sources.get("extra_labels"),
            **({"probability": state.probability} if state.probability else {}),
            "evaluation": {**recipe_views(plan.recipe), "text": sources["text"]},
        },
    )
    document = {
        **plan.document.as_dict(),
        "finished": {"checkpoint_sha256": digest, **ended},
        "seconds": round(seconds, 1),
        "computed": computed,
    }
    write_json(plan.folder / RUN_FILE, document)
    (plan.folder / STATE_FILE).unlink(missing_ok=True)
    return TrainingRun(plan, path, **ended, failures=state.failures)


def _trained_videos(plan: TrainingPlan) -> dict[str, Any]:
    """The videos that these weights were trained on, with those of their starting checkpoint.

    videos: ids by dataset; unlisted: datasets with too many ids to store.
    """
    start = plan.request.training.start_from
    before = read_info(start).training if start is not None else {}
    seen = {name: set(ids) for name, ids in before.get("videos", {}).items()}
    name = plan.dataset.config.name
    seen[name] = seen.get(name, set()) | set(plan.split.rows["video"])
    many = {name for name, ids in seen.items() if len(ids) > STORED_IDS}
    many.update(before.get("unlisted", []))
    listed = {name: sorted(ids) for name, ids in seen.items() if name not in many}
    return {"videos": listed, "unlisted": sorted(many)}


def finished_run(plan: TrainingPlan) -> TrainingRun | None:
    """An earlier, finished run with the same settings, whose checkpoint is unchanged.

    Raises UsageError where the folder holds a run with other settings.
    """
    found, checkpoint = plan.document.earlier(plan.folder), plan.folder / CHECKPOINT_FILE
    ended = found.get("finished") if found is not None else None
    kept = ("steps", "loss", "selected")
    if not isinstance(ended, dict) or not ended.keys() >= {"checkpoint_sha256", *kept}:
        return None
    if not checkpoint.is_file() or sha256_file(checkpoint) != ended["checkpoint_sha256"]:
        return None
    facts = {name: ended[name] for name in kept}
    return TrainingRun(plan, checkpoint, **facts, reused=True)


@dataclass
class ResumeState:
    """The state of a run after `step` updates.

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

    def note_failures(self, failures: Iterable[FailedVideo]) -> None:
        """Add videos that could not be read, with path and reason."""
        for failure in failures:
            self.failures[failure.video] = [failure.path, failure.reason]

    @property
    def first_reason(self) -> str | None:
        """Why the first of them could not be read."""
        return next((reason for _, reason in self.failures.values()), None)

    def capture(self, adapter: Adapter, optimizer: Any, accelerator: Accelerator) -> None:
        """Copy the trained parameters, the optimizer and the gradient scaler into the state."""
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
    """A copy of the trained parameters, on the CPU."""
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
        parts = (state.tensors, state.optimizer, state.best)
        whole = isinstance(state.step, int) and isinstance(state.losses, list)
        whole &= all(isinstance(part, dict) for part in parts)
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
