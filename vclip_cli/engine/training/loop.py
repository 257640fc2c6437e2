"""The training loop: updates of a fixed global batch, whatever the memory and the processes.

Every draw is seeded by its purpose (epoch and video, or step). A run that was killed therefore
continues from its last saved step and ends with the same weights, bit for bit on one kind of
machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import is_tensorboard_available
from torch import Tensor

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, delay_interruption
from vclip_cli.engine.runs.run_log import RunLog
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.engine.training.optimiser import build_optimizer, set_rate
from vclip_cli.engine.training.outcome import ResumeState, write_state
from vclip_cli.engine.training.plan import TrainingPlan
from vclip_cli.engine.training.samples import micro_batches, plan_updates, split_update, steps_of
from vclip_cli.engine.training.selection import Selector
from vclip_cli.engine.training.step import Trainer, TrainingForward
from vclip_cli.engine.training.targets import mixes

STEPS_A_FETCH = 20
"""The most steps that losses stay on the device; fetching one waits for the device."""
TRACKED_FOLDER = "tensorboard"


def build_accelerator(plan: TrainingPlan) -> Accelerator:
    """The accelerator of one run: device, autocast, and the trackers of its folder."""
    device, precision = plan.encoder.device, plan.encoder.compute.precision
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # accelerate keeps one state per process; a second run may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(
        mixed_precision="no" if precision == "fp32" else precision,
        cpu=device.type == "cpu",
        log_with="tensorboard" if is_tensorboard_available() else None,
        project_dir=plan.folder,
    )


def fit(
    plan: TrainingPlan,
    state: ResumeState,
    selector: Selector | None,
    log: RunLog | None,
    progress: Progress,
) -> ResumeState:
    """Train from `state` to the end, or to `stop_after`; gives the last state.

    The adapter must be on its device. The state is saved every `save_every` steps, at each epoch's
    end and at the last step, which `log` notes. selector: looks at the weights after each epoch.
    Raises DataError when no training video can be read, and VclipError for a loss that is not
    finite, before anything of that step is saved.
    """
    adapter, data, asked = plan.encoder.adapter, plan.data, plan.request.training
    compute, workers, recipe = plan.encoder.compute, plan.encoder.workers, plan.recipe
    adapter.freeze_all_but_trainable()
    adapter.gradient_checkpointing = compute.gradient_checkpointing
    accelerator = build_accelerator(plan)
    steps, steps_an_epoch = steps_of(len(data.items), recipe)
    forward = TrainingForward(adapter, data.prompts, compiled=compute.compile)
    if not adapter.text_trains:
        adapter.eval()
        with torch.no_grad(), accelerator.autocast():
            forward.fixed_text = adapter.encode_text(data.prompts)
    optimizer = accelerator.prepare(build_optimizer(adapter, recipe))
    trainer = Trainer(data, forward, accelerator, optimizer, state)
    if data.multi_label and not state.probability:
        state.probability = trainer.starting_probability(workers)
    adapter.train()
    state.restore(adapter, optimizer, accelerator)
    shard = Shard(accelerator.process_index, accelerator.num_processes)
    keep_pairs = mixes(recipe.augmentation)
    updates = list(plan_updates(len(data.items), recipe, plan.seed, steps))[state.step :]
    planned = [split_update(u, shard, compute.batch_size, keep_pairs=keep_pairs) for u in updates]
    loader = micro_batches(data, [own for update in planned for own in update], workers)
    last = min(asked.stop_after or steps, steps)
    with (
        delay_interruption() as interruption,
        progress("training", steps, state.step) as advance,
        _tracking(accelerator, state.step),
    ):
        losses = LossBuffer(state, accelerator)
        for update, own_batches in zip(updates, planned, strict=True):
            if state.step >= last:
                break
            batches = (next(loader) for _ in own_batches)
            rate = set_rate(optimizer.optimizer, recipe, state.step, steps, steps_an_epoch)
            loss, stopping = trainer.update(update, batches, interruption)
            state.step += 1
            losses.waiting.append((loss, rate))
            ends_epoch = state.step % steps_an_epoch == 0
            due = ends_epoch or state.step % asked.save_every == 0 or state.step == last
            if due or stopping or state.step % STEPS_A_FETCH == 0:
                losses.fetch()
            advance(1)
            if ends_epoch and selector is not None:
                selector.look(state.step // steps_an_epoch, state)
                adapter.train()
            if (due or stopping) and shard.is_main:
                state.capture(adapter, optimizer, accelerator)
                write_state(plan.folder, state)
                if log is not None:
                    log.note("saved", done=state.step)
            if stopping:
                raise KeyboardInterrupt
    return state


@dataclass
class LossBuffer:
    """Losses that are still on the device, with their rates, and where to put them."""

    state: ResumeState
    accelerator: Accelerator
    waiting: list[tuple[Tensor, float]] = field(default_factory=list)

    def fetch(self) -> None:
        """Wait for the device; add the losses to the state and to accelerate's trackers.

        Raises VclipError for a loss that is not finite.
        """
        if not self.waiting:
            return
        first = self.state.step - len(self.waiting) + 1
        values = torch.stack([loss for loss, _ in self.waiting]).tolist()
        for step, (loss, (_, rate)) in enumerate(zip(values, self.waiting, strict=True), first):
            if not np.isfinite(loss):
                raise VclipError(
                    f"the loss is {loss} at step {step}",
                    hint="a lower rate (--set learning_rate=…) or --precision fp32",
                )
            self.state.losses.append([step, loss, rate])
            self.accelerator.log({"loss": loss, "learning_rate": rate}, step=step)
        self.waiting = []


@contextlib.contextmanager
def _tracking(accelerator: Accelerator, step: int) -> Iterator[None]:
    """Within, accelerate's trackers take losses: TensorBoard, where it is installed.

    A run that continues from `step` writes its later steps again; TensorBoard hides what a killed
    run had written of them.
    """
    resumed = {"tensorboard": {"purge_step": step + 1}}
    try:
        accelerator.init_trackers(TRACKED_FOLDER, init_kwargs=resumed)
    except ImportError:  # found, but cannot be imported
        accelerator.trackers = []
    try:
        yield
    finally:
        for tracker in accelerator.trackers:  # end_training would end the process group as well
            tracker.finish()


def remove_tracked(folder: Path) -> None:
    """Delete what the trackers of an earlier run wrote, and no other files."""
    for path in (folder / TRACKED_FOLDER).glob("events.out.tfevents.*"):
        path.unlink(missing_ok=True)
