"""What a training run leaves behind: the checkpoint with its provenance, the losses, the end."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import write_json
from vclip_cli.common.hashing import sha256_file
from vclip_cli.engine.runs.environment import package_facts
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.training.plan import TrainingPlan, training_items
from vclip_cli.engine.training.resume import STATE_FILE, ResumeState
from vclip_cli.engine.training.updates import steps_of
from vclip_cli.models.checkpoint import read_info, save_checkpoint

if TYPE_CHECKING:
    pass

CHECKPOINT_FILE = "checkpoint.safetensors"
LOSS_FILE = "loss.csv"
RUN_FILE = "run.json"
STORED_IDS = 20_000
"""A checkpoint names the videos that it was trained on, for the overlap guard, up to so many."""


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


def loss_table(losses: Sequence[Sequence[float]]) -> str:
    """The loss and the rate of every step, as CSV."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["step", "loss", "learning_rate"])
    writer.writerows((int(step), repr(loss), repr(rate)) for step, loss, rate in losses)
    return stream.getvalue()


def finish(plan: TrainingPlan, state: ResumeState, seconds: float) -> Trained:
    """Write the checkpoint of a run that came to its end; the state alone of one that did not.

    Raises StorageError.
    """
    fitted = plan.method.adapter.fits  # in one go: there is no half of it
    steps = state.step if fitted else steps_of(len(training_items(plan)), plan.recipe)[0]
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
            "trained_on": len(training_items(plan)),
            "flip": plan.identity["flip"],
            "decoder": plan.identity["decoder"],
            "store": plan.identity["store"],
            "precision": plan.request.precision,
            "computed": how_computed(plan),
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
            "extra_labels": plan.identity.get("extra_labels"),
            **({"probability": state.probability} if state.probability else {}),
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
        {
            "sha256": plan.sha256,
            "finished": ended,
            "seconds": round(seconds, 1),
            "computed": how_computed(plan),
            **plan.identity,
        },
    )
    (plan.folder / STATE_FILE).unlink(missing_ok=True)
    return Trained(
        plan.folder / CHECKPOINT_FILE, steps, loss, selected, state.failures, reused=False
    )


def how_computed(plan: TrainingPlan) -> dict[str, Any]:
    """What changes the weights by rounding alone: recorded, and no part of the run's identity."""
    return {
        "processes": launched_shard().count,
        "gradient_checkpointing": plan.request.gradient_checkpointing,
        "compiled": plan.request.compiled,
    }


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
    return {**plan.method.adapter.checkpoint_tensors(), **state.best.get("tensors", {})}


def finished_run(plan: TrainingPlan) -> Trained | None:
    """An earlier, equal run that came to its end with the checkpoint that it says."""
    path = plan.folder / RUN_FILE
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        same, ended = found["sha256"] == plan.sha256, found.get("finished")
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
    return Trained(checkpoint, ended["steps"], ended["loss"], ended["selected"], {}, reused=True)
