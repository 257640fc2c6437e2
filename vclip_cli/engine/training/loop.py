"""The training loop: updates of a fixed global batch, whatever the memory and the processes.

Every draw is seeded by what it is for (epoch and video, or step). A run that was killed therefore
continues from its last saved step and ends with the same weights, bit for bit on one kind of
machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import is_tensorboard_available
from torch import Tensor

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress, put_off
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.engine.training.optimiser import build_optimizer, set_rate
from vclip_cli.engine.training.outcome import ResumeState, write_state
from vclip_cli.engine.training.samples import (
    TrainingData,
    micro_batches,
    plan_updates,
    split_update,
    steps_of,
)
from vclip_cli.engine.training.step import Trainer, TrainingForward
from vclip_cli.engine.training.targets import mixes
from vclip_cli.models.contract import Adapter

STEPS_A_FETCH = 20
"""Losses stay on the device for so many steps at most: fetching one waits for the device."""
TRACKED_FOLDER = "tensorboard"


def build_accelerator(device: torch.device, precision: str, folder: Path) -> Accelerator:
    """The accelerator of one run: device, autocast, and the trackers of `folder`."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # accelerate keeps one state a process, and a second run may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=device.type == "cpu",
        log_with="tensorboard" if is_tensorboard_available() else None,
        project_dir=folder,
    )


def fit(
    adapter: Adapter,
    data: TrainingData,
    accelerator: Accelerator,
    request: Request,
    folder: Path,
    state: ResumeState,
    *,
    after_save: Callable[[ResumeState], None] | None = None,
    after_epoch: Callable[[int, ResumeState], None] | None = None,
    progress: Progress = no_progress,
) -> ResumeState:
    """Train from `state` to the end, or to `stop_after`; gives the last state.

    `adapter.freeze_all_but_trainable` must have been called. request: none of its settings changes
    the result beyond rounding. The state is saved in `folder`, and after_save called, every
    `save_every` steps, at each epoch's end and at the last step. after_epoch: called with the
    number of the epoch, from 1. Raises DataError when no training video can be read, and
    VclipError for a loss that is not finite, before anything of that step is saved.
    """
    recipe = data.reading.recipe
    steps, steps_an_epoch = steps_of(len(data.items), recipe)
    forward = TrainingForward(adapter, data.prompts, compiled=request.compute.compile)
    if not adapter.text_trains:
        adapter.eval()
        with torch.no_grad(), accelerator.autocast():
            forward.fixed_text = adapter.encode_text(data.prompts)
    optimizer = accelerator.prepare(build_optimizer(adapter, recipe))
    trainer = Trainer(data, forward, accelerator, optimizer, state)
    if data.multi_label and not state.probability:
        state.probability = trainer.starting_probability(request.workers)
    adapter.train()
    state.restore(adapter, optimizer, accelerator)
    shard = Shard(accelerator.process_index, accelerator.num_processes)
    batch_size, keep_pairs = request.compute.batch_size, mixes(recipe.augmentation)
    updates = list(plan_updates(len(data.items), recipe, data.reading.seed, steps))[state.step :]
    planned = [split_update(u, shard, batch_size, keep_pairs=keep_pairs) for u in updates]
    loader = micro_batches(data, [own for update in planned for own in update], request.workers)
    last = min(request.training.stop_after or steps, steps)
    with (
        put_off() as interruption,
        progress("training", steps, state.step) as advance,
        _tracking(accelerator, state.step) as track,
    ):
        losses = LossBuffer(state, track)
        for update, own_batches in zip(updates, planned, strict=True):
            if state.step >= last:
                break
            batches = (next(loader) for _ in own_batches)
            rate = set_rate(optimizer.optimizer, recipe, state.step, steps, steps_an_epoch)
            loss, stopping = trainer.update(update, batches, interruption)
            state.step += 1
            losses.add(loss, rate)
            ends_epoch = state.step % steps_an_epoch == 0
            due = ends_epoch or state.step % request.training.save_every == 0 or state.step == last
            if due or stopping or state.step % STEPS_A_FETCH == 0:
                losses.fetch()
            advance(1)
            if ends_epoch and after_epoch is not None:
                after_epoch(state.step // steps_an_epoch, state)
                adapter.train()
            if (due or stopping) and shard.is_main:
                state.capture(adapter, optimizer, accelerator)
                write_state(folder, state)
                if after_save is not None:
                    after_save(state)
            if stopping:
                raise KeyboardInterrupt
    return state


@dataclass
class LossBuffer:
    """Losses that are still on the device, and where they go once they are fetched.

    after_step: called with the step's number, its loss and its rate, some steps late.
    """

    state: ResumeState
    after_step: Callable[[int, float, float], None]
    losses: list[Tensor] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)

    def add(self, loss: Tensor, rate: float) -> None:
        """Keep the loss () of the last step of the state, and its rate."""
        self.losses.append(loss)
        self.rates.append(rate)

    def fetch(self) -> None:
        """Wait for the device and add the losses to the state.

        Raises VclipError for a loss that is not finite.
        """
        if not self.losses:
            return
        first = self.state.step - len(self.losses) + 1
        values = torch.stack(self.losses).tolist()
        for step, (loss, rate) in enumerate(zip(values, self.rates, strict=True), first):
            if not np.isfinite(loss):
                raise VclipError(
                    f"the loss is {loss} at step {step}",
                    hint="a lower rate (--set learning_rate=…) or --precision fp32",
                )
            self.state.losses.append([step, loss, rate])
            self.after_step(step, loss, rate)
        self.losses, self.rates = [], []


@contextlib.contextmanager
def _tracking(accelerator: Accelerator, step: int) -> Iterator[Callable[[int, float, float], None]]:
    """What sends a step's loss and rate to accelerate's trackers: TensorBoard, where installed.

    A run that continues from `step` writes its later steps again; TensorBoard hides what a killed
    run had written of them.
    """
    resumed = {"tensorboard": {"purge_step": step + 1}}
    try:
        accelerator.init_trackers(TRACKED_FOLDER, init_kwargs=resumed)
    except ImportError:  # found, but cannot be imported
        accelerator.trackers = []

    def track(step: int, loss: float, rate: float) -> None:
        accelerator.log({"loss": loss, "learning_rate": rate}, step=step)

    try:
        yield track
    finally:
        for tracker in accelerator.trackers:  # end_training would end the process group as well
            tracker.finish()


def remove_tracked(folder: Path) -> None:
    """Delete what the trackers of an earlier run wrote, and no other files."""
    for path in (folder / TRACKED_FOLDER).glob("events.out.tfevents.*"):
        path.unlink(missing_ok=True)
