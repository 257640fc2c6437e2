"""Gradients of several processes, summed, so that the update is that of one process.

Each process works on its share of a global batch. A process with nothing in its share takes part
with zeros; wrappers that average over equal shares could not do that.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import VclipError


def sum_over_processes(
    parameters: Sequence[nn.Parameter], loss: Tensor, read: int, stopping: bool
) -> tuple[Tensor, int, bool]:
    """Sum the gradients in place; give the sums of the loss and of the videos read, and whether
    any process is to stop.

    A parameter that no process has a gradient for keeps none. The CPU waits for the other CPUs, and
    not for its own device. Raises VclipError when another process has died.
    """
    there = [int(parameter.grad is not None) for parameter in parameters]
    facts = torch.tensor([read, int(stopping), *there])
    gradients = [
        (parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
        .detach()
        .float()
        .flatten()
        for parameter in parameters
    ]
    flat = torch.cat([*gradients, loss.detach().float().reshape(1)])
    try:
        torch.distributed.all_reduce(facts, group=_between_cpus())
        torch.distributed.all_reduce(flat)
    except RuntimeError as error:
        raise VclipError(
            "another process of this launch has died",
            found=str(error).splitlines()[0][:200],
            hint="its own error stands above; the same command goes on from the last saved step",
        ) from None
    read_by_all, stopped, *counts = facts.tolist()
    *parts, total = flat.split([*(parameter.numel() for parameter in parameters), 1])
    for parameter, part, count in zip(parameters, parts, counts, strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype) if count else None
    return total[0].clone(), read_by_all, stopped > 0  # a view would keep all gradients in memory


@cache
def _between_cpus() -> Any:
    """A group for numbers that are in the CPU's memory: NCCL's own takes those of GPUs alone."""
    return torch.distributed.new_group(backend="gloo")
