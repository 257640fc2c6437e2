"""One update of the weights: micro-batches forward and backward, ranks summed, the optimizer.

A global batch has a fixed size. Each rank computes its shard, in micro-batches that fit on the
device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from vclip_cli.common.errors import DataError, VclipError
from vclip_cli.common.long_work import DelayedInterruption
from vclip_cli.engine.specs import WorkerSpec
from vclip_cli.engine.training.outcome import ResumeState
from vclip_cli.engine.training.samples import (
    MicroBatch,
    SampleKey,
    TrainingData,
    micro_batches,
    seed_of,
)
from vclip_cli.engine.training.targets import draw_mix, losses_of_videos, mix_frames, starting_bias
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import to_device
from vclip_cli.video.preprocess import normalise

STARTING_VIDEOS, STARTING_LABELS = 16, 256
"""How many videos and labels the starting bias of a multi-label loss is measured on."""


class TrainingForward:
    """Frames to logits. Text that does not train is encoded once and kept in `fixed_text`."""

    def __init__(
        self, adapter: Adapter, prompts: Sequence[Sequence[str]], *, compiled: bool = False
    ) -> None:
        self.adapter = adapter
        self.prompts = prompts
        self.encode_video = compiled_video(adapter) if compiled else adapter.encode_video
        self.fixed_text: Any = None

    def __call__(
        self, frames: Tensor, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Logits and the adapter's penalty, from normalised frames (B,T,C,H,W).

        labels: the indices (C,) of the labels to score, on the CPU; None for all K classes. The
        logits are (B,C) or (B,K).
        """
        text = self.fixed_text
        if text is None:
            prompts = self.prompts
            if labels is not None and self.adapter.tied_classes is None:
                prompts = [self.prompts[position] for position in labels.tolist()]
            text = self.adapter.encode_text(prompts)
        elif labels is not None and isinstance(text, Tensor):
            text = text[to_device(labels, text.device)]
        video = self.encode_video(frames)
        logits = self.adapter.score(video, text)
        if labels is not None and logits.shape[1] != len(labels):
            logits = logits[:, to_device(labels, logits.device)]
        return logits, self.adapter.penalty(frames, video)


def compiled_video(adapter: Adapter) -> Callable[[Tensor], Any]:
    """`encode_video` through torch.compile, which compiles it at the first call.

    That call raises VclipError where it cannot be compiled. Text is not compiled: it is encoded
    once, or has another length in every step.
    """
    compiled = torch.compile(adapter.encode_video)

    def encode(frames: Tensor) -> Any:
        try:
            return compiled(frames)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise VclipError(
                f"{adapter.name!r} cannot be compiled here",
                found=str(error).strip().splitlines()[0][:200],
                hint="leave out --compile; on a CPU it needs a C++ compiler",
            ) from None

    return encode


@dataclass(eq=False)
class Trainer:
    """The objects that a run's updates share; every update changes the state."""

    data: TrainingData
    forward: TrainingForward
    accelerator: Accelerator
    optimizer: Any
    state: ResumeState

    def update(
        self,
        keys: Sequence[SampleKey],
        batches: Iterable[MicroBatch],
        interruption: DelayedInterruption,
    ) -> tuple[Tensor, bool]:
        """Make one step of the optimizer from this rank's micro-batches of the update `keys`.

        Gives the mean loss (), which is still on the device, and whether any rank was interrupted,
        so that all ranks stop after the same step. Raises DataError when no rank could read a
        video.
        """
        seed = seed_of("step", self.data.reading.seed, self.state.step)
        torch.manual_seed(seed)
        total, read = self._backward(keys, batches, seed)
        stopping = interruption.requested
        if self.accelerator.num_processes > 1:
            groups = self.optimizer.param_groups
            parameters = [parameter for group in groups for parameter in group["params"]]
            total, read, stopping = sum_over_ranks(parameters, total, read, stopping)
        if not read:
            raise DataError(
                f"no video of the update {self.state.step + 1} can be read",
                found=self.state.first_reason,
                hint="vclip data check",
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return total, stopping

    def _backward(
        self, keys: Sequence[SampleKey], batches: Iterable[MicroBatch], seed: int
    ) -> tuple[Tensor, int]:
        """Add up the gradients of the micro-batches; gives the loss () and the videos read."""
        data, device = self.data, self.accelerator.device
        augmentation = data.reading.recipe.augmentation
        mix = draw_mix(augmentation, np.random.default_rng(seed))
        labels = data.labels_of_update(keys, self.state.step)
        total, read = torch.zeros((), device=device), 0
        for batch in batches:
            self.state.note_failures(batch.failures)
            if batch.frames is None or batch.targets is None:
                continue
            read += len(batch.targets)
            frames = normalise(to_device(batch.frames, device), data.reading.preprocessing)
            targets = to_device(batch.targets, device)
            frames, own_weight = mix_frames(frames, mix) if mix is not None else (frames, None)
            with self.accelerator.autocast():
                logits, penalty = self.forward(frames, labels.indices if labels else None)
            losses = losses_of_videos(
                logits,
                targets,
                own_weight,
                classes=len(data.prompts),
                smoothing=augmentation.label_smoothing,
                labels=labels,
                probability=self.state.probability,
            )
            if penalty is not None:
                losses = losses + penalty
            loss = losses.sum() / len(keys)
            self.accelerator.backward(loss)
            total += loss.detach()
        return total, read

    @torch.no_grad()
    def starting_probability(self, workers: WorkerSpec) -> dict[str, float]:
        """Slope and bias of the loss's sigmoid, from the first videos; see `starting_bias`.

        Raises DataError when none of them can be read.
        """
        data, count = self.data, len(self.data.prompts)
        labels = torch.linspace(0, count - 1, min(count, STARTING_LABELS)).long()
        planned = [[(0, position)] for position in range(min(len(data.items), STARTING_VIDEOS))]
        self.forward.adapter.eval()
        logits = []
        for batch in micro_batches(data, planned, workers):
            if batch.frames is not None:
                frames = batch.frames.to(self.accelerator.device)
                frames = normalise(frames, data.reading.preprocessing)
                with self.accelerator.autocast():
                    logits.append(self.forward(frames, labels)[0])
        if not logits:
            raise DataError(
                "none of the first training videos can be read", hint="vclip data check"
            )
        targets = [item.labels for item in data.items]
        return {"slope": 1.0, "bias": starting_bias(torch.cat(logits), targets, count)}


def sum_over_ranks(
    parameters: Sequence[nn.Parameter], loss: Tensor, read: int, stopping: bool
) -> tuple[Tensor, int, bool]:
    """Sum the gradients of all ranks in place, so that the update is that of one process.

    Gives the sums of the loss () and of the videos read, and whether any rank is to stop. A rank
    whose shard is empty adds zeros; wrappers that average over equal shards cannot do that. A
    parameter without a gradient on all ranks keeps none. The CPU waits for the other CPUs, but not
    for its own device. Raises VclipError when another process has died.
    """
    present = [int(parameter.grad is not None) for parameter in parameters]
    facts = torch.tensor([read, int(stopping), *present])
    gradients = [
        (parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
        .detach()
        .float()
        .flatten()
        for parameter in parameters
    ]
    flat = torch.cat([*gradients, loss.detach().float().reshape(1)])
    try:
        torch.distributed.all_reduce(facts, group=_cpu_group())
        torch.distributed.all_reduce(flat)
    except RuntimeError as error:
        raise VclipError(
            "another process of this launch has died",
            found=str(error).splitlines()[0][:200],
            hint="its own error is above; the same command continues from the last saved step",
        ) from None
    read_by_all, stopped, *counts = facts.tolist()
    *parts, total = flat.split([*(parameter.numel() for parameter in parameters), 1])
    for parameter, part, count in zip(parameters, parts, counts, strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype) if count else None
    return total[0].clone(), read_by_all, stopped > 0  # a view would keep all gradients in memory


@cache
def _cpu_group() -> Any:
    """A process group for tensors on the CPU; NCCL's own takes tensors on GPUs only."""
    return torch.distributed.new_group(backend="gloo")
