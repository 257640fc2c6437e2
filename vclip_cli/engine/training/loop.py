"""The training loop: updates of a fixed global batch, whatever memory and processes there are.

Every draw is seeded by what it is for (epoch and video, or step), so a run that was killed goes on
from its last saved step and ends with the same weights, bit for bit on one kind of machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vclip_cli.common.errors import DataError
from vclip_cli.common.long_work import (
    DelayedInterruption,
    Progress,
    delay_interruption,
    no_progress,
)
from vclip_cli.data.recipe import Recipe
from vclip_cli.engine.loading.workers import UNGUARDED, Guard
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.engine.training.compiling import compiled_video
from vclip_cli.engine.training.gradients import sum_over_processes
from vclip_cli.engine.training.losses import STEPS_BETWEEN_LOOKS, WaitingLosses
from vclip_cli.engine.training.mixing import (
    draw_mix,
    mix_frames,
    mixes,
    soft_cross_entropy,
    soft_targets,
)
from vclip_cli.engine.training.multi_label import (
    draw_labels,
    label_loss,
    multi_hot,
    starting_bias,
)
from vclip_cli.engine.training.optimiser import build_optimizer, set_rate
from vclip_cli.engine.training.resume import ResumeState, write_state
from vclip_cli.engine.training.samples import (
    MicroBatch,
    SampleReading,
    TrainingItem,
    micro_batches,
)
from vclip_cli.engine.training.updates import cut, plan_updates, seed_of, share_of, steps_of
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import to_device
from vclip_cli.video.preprocess import normalise

STARTING_VIDEOS, STARTING_LABELS = 16, 256
"""What the starting bias of a multi-label loss is measured on."""


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The videos of a run and how they are read; prompts: one list a class, in target order.

    Items whose targets are tuples have several labels each, and none to spare.
    """

    root: Path
    items: Sequence[TrainingItem]
    reading: SampleReading
    prompts: Sequence[Sequence[str]]

    @property
    def multi_label(self) -> bool:
        """Whether the videos have several labels each."""
        return isinstance(self.items[0].target, tuple)

    def labels_of(self, update: Sequence[tuple[int, int]], recipe: Recipe, step: int) -> Any:
        """The labels that an update is about; None where a video has one class."""
        if not self.multi_label:
            return None
        present = {label for _, position in update for label in self.items[position].target}
        seed = seed_of("labels", self.reading.seed, step)
        return draw_labels(present, len(self.prompts), recipe.negatives, seed)


@dataclass(frozen=True)
class LoopOptions:
    """How a run is carried out, none of which changes what it computes beyond rounding.

    batch_size: videos at once on a device, the rest of an update by accumulation; save_every: steps
    between saved states; stop_after: leave after that many steps in all, None to the end; compiled:
    run the image side through torch.compile.
    """

    folder: Path
    batch_size: int
    guard: Guard = UNGUARDED
    save_every: int = 50
    stop_after: int | None = None
    compiled: bool = False


class _Logits(nn.Module):
    """Frames to logits, with text that is computed once where it does not train."""

    def __init__(
        self, adapter: Adapter, prompts: Sequence[Sequence[str]], *, compiled: bool = False
    ) -> None:
        super().__init__()
        self.adapter = adapter
        self.prompts = prompts
        self.encode_video = compiled_video(adapter) if compiled else adapter.encode_video
        self.fixed_text: Any = None

    def forward(self, frames: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Any]:
        """Logits (B,K), or of the chosen labels alone (B,C), and the adapter's penalty or None."""
        text = self.fixed_text
        if text is None:
            tied = chosen is None or self.adapter.tied_classes is not None
            prompts = self.prompts if tied else [self.prompts[i] for i in chosen.tolist()]
            text = self.adapter.encode_text(prompts)
        elif chosen is not None and isinstance(text, Tensor):
            text = text[to_device(chosen, text.device)]
        video = self.encode_video(frames)
        logits = self.adapter.score(video, text)
        if chosen is not None and logits.shape[1] != len(chosen):
            logits = logits[:, to_device(chosen, logits.device)]
        return logits, self.adapter.penalty(frames, video)


def fit(
    adapter: Adapter,
    data: TrainingData,
    recipe: Recipe,
    accelerator: Accelerator,
    options: LoopOptions,
    state: ResumeState,
    *,
    after_step: Callable[[int, float, float], None] | None = None,
    after_save: Callable[[ResumeState], None] | None = None,
    after_epoch: Callable[[int, ResumeState], None] | None = None,
    progress: Progress = no_progress,
) -> ResumeState:
    """Train from `state` to the end, saving on the way; gives the last state.

    The adapter must have `freeze_all_but_trainable` behind it. after_step: called with the step's
    number, its loss and its rate, some steps late; after_save: when a state was saved. Raises
    DataError when no training video can be read, VclipError for a loss that is no number, before
    anything of it is saved.
    """
    steps, an_epoch = steps_of(len(data.items), recipe)
    module = _Logits(adapter, data.prompts, compiled=options.compiled)
    if not adapter.text_trains:
        adapter.eval()
        with torch.no_grad(), accelerator.autocast():
            module.fixed_text = adapter.encode_text(data.prompts)
    optimizer = build_optimizer(adapter, recipe)
    if data.multi_label and not state.probability:
        state.probability = _starting_probability(module, data, recipe, accelerator, options.guard)
    adapter.train()
    shard = Shard(accelerator.process_index, accelerator.num_processes)
    optimizer = accelerator.prepare(optimizer)
    _restore(adapter, optimizer, accelerator, state)
    paired = mixes(recipe.augmentation)
    updates = list(plan_updates(len(data.items), recipe, data.reading.seed, steps))[state.step :]
    pieces = [cut(share_of(u, shard, paired), options.batch_size, paired) for u in updates]
    loader = micro_batches(
        data.root,
        data.items,
        data.reading,
        [piece for update in pieces for piece in update],
        guard=options.guard,
        pin_memory=accelerator.device.type == "cuda",
    )
    last = min(options.stop_after or steps, steps)
    waiting = WaitingLosses(state, after_step)
    with delay_interruption() as interruption, progress("training", steps, state.step) as advance:
        for update, cut_update in zip(updates, pieces, strict=True):
            if state.step >= last:
                break
            batches = (next(loader) for _ in cut_update)
            rate = set_rate(optimizer.optimizer, recipe, state.step, steps, an_epoch)
            loss, stopping = _update(
                module, batches, data, recipe, accelerator, optimizer, state, update, interruption
            )
            state.step += 1
            waiting.add(loss, rate)
            ends_epoch = state.step % an_epoch == 0
            due = state.step % options.save_every == 0 or ends_epoch or state.step == last
            if due or stopping or state.step % STEPS_BETWEEN_LOOKS == 0:
                waiting.fetch()
            advance(1)
            if ends_epoch and after_epoch is not None:
                after_epoch(state.step // an_epoch, state)
                adapter.train()
            if (due or stopping) and shard.is_main:
                _save(adapter, optimizer, accelerator, options.folder, state)
                if after_save is not None:
                    after_save(state)
            if stopping:
                raise KeyboardInterrupt
    return state


def _update(
    module: nn.Module,
    batches: Iterator[MicroBatch],
    data: TrainingData,
    recipe: Recipe,
    accelerator: Accelerator,
    optimizer: Any,
    state: ResumeState,
    update: Sequence[tuple[int, int]],
    interruption: DelayedInterruption,
) -> tuple[Tensor, bool]:
    """One step of the optimizer over this process's pieces of one global batch.

    Gives the mean loss (), still on the device, and whether any process was interrupted, so that
    all stop at one step.
    """
    labels = data.labels_of(update, recipe, state.step)
    chosen = labels.indices if labels is not None else None
    size = len(update)
    seed = seed_of("step", data.reading.seed, state.step)
    mix = draw_mix(recipe.augmentation, np.random.default_rng(seed))
    torch.manual_seed(seed)
    classes = len(data.prompts)
    total, read = torch.zeros((), device=accelerator.device), 0
    for batch in batches:
        for failure in batch.failures:
            state.failures[failure.video] = [failure.path, failure.reason]
        if batch.frames is None or batch.targets is None:
            continue
        read += len(batch.targets)
        frames = to_device(batch.frames, accelerator.device)
        frames = normalise(frames, data.reading.preprocessing)
        targets = to_device(batch.targets, accelerator.device)
        share = None
        if mix is not None:
            frames, share = mix_frames(frames, mix)
        with accelerator.autocast():
            logits, penalty = module(frames, chosen)
        if labels is not None:
            wanted = multi_hot(targets, labels, share)
            losses = label_loss(logits, wanted, labels, count=classes, **state.probability)
        else:
            smoothing = recipe.augmentation.label_smoothing
            losses = soft_cross_entropy(logits, soft_targets(targets, classes, smoothing, share))
        if penalty is not None:
            losses = losses + penalty
        loss = losses.sum() / size
        accelerator.backward(loss)
        total += loss.detach()
    stopping = interruption.requested
    if accelerator.num_processes > 1:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        total, read, stopping = sum_over_processes(parameters, total, read, stopping)
    if not read:
        raise DataError(
            f"no video of the update {state.step + 1} can be read",
            found=next(iter(state.failures.values()))[1] if state.failures else None,
            hint="vclip data check",
        )
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total, stopping


@torch.no_grad()
def _starting_probability(
    module: _Logits, data: TrainingData, recipe: Recipe, accelerator: Accelerator, guard: Guard
) -> dict[str, float]:
    """Slope and bias of the loss's sigmoid, from the first training videos; see `starting_bias`."""
    positions = range(min(len(data.items), STARTING_VIDEOS))
    count = len(data.prompts)
    chosen = torch.linspace(0, count - 1, min(count, STARTING_LABELS)).long()
    module.adapter.eval()
    logits = []
    plan = [[(0, position)] for position in positions]
    for batch in micro_batches(data.root, data.items, data.reading, plan, guard=guard):
        if batch.frames is not None:
            frames = normalise(batch.frames.to(accelerator.device), data.reading.preprocessing)
            with accelerator.autocast():
                logits.append(module(frames, chosen)[0])
    if not logits:
        raise DataError("none of the first training videos can be read", hint="vclip data check")
    targets = [item.target for item in data.items]
    return {"slope": 1.0, "bias": starting_bias(torch.cat(logits), targets, count)}


def _save(
    adapter: Adapter, optimizer: Any, accelerator: Accelerator, folder: Path, state: ResumeState
) -> None:
    state.tensors = {
        name: entry.parameter.detach().cpu().clone() for name, entry in adapter.trainable().items()
    }
    state.optimizer = optimizer.state_dict()
    if accelerator.scaler is not None:
        state.scaler = accelerator.scaler.state_dict()
    write_state(folder, state)


def _restore(
    adapter: Adapter, optimizer: Any, accelerator: Accelerator, state: ResumeState
) -> None:
    if state.step == 0:
        return
    with torch.no_grad():
        for name, entry in adapter.trainable().items():
            entry.parameter.copy_(state.tensors[name])
    optimizer.load_state_dict(state.optimizer)
    if accelerator.scaler is not None and state.scaler:
        accelerator.scaler.load_state_dict(state.scaler)
