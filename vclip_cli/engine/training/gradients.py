"""Gradients of several processes, summed, so that the update is that of one process.

Each process works on its share of a global batch. A process with nothing in its share takes part
with zeros; wrappers that average over equal shares could not do that.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from vclip_cli.errors import VclipError


def sum_over_processes(parameters: Sequence[nn.Parameter], numbers: Sequence[float]) -> list[float]:
    """Sum the gradients in place, and give the sums of the numbers.

    A parameter that no process has a gradient for keeps none. Raises VclipError when another
    process has died.
    """
    device = parameters[0].device
    there = [float(parameter.grad is not None) for parameter in parameters]
    facts = torch.tensor([*numbers, *there], dtype=torch.float64, device=device)
    flat = torch.cat(
        [
            (parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
            .detach()
            .float()
            .flatten()
            for parameter in parameters
        ]
    )
    try:
        torch.distributed.all_reduce(facts)
        torch.distributed.all_reduce(flat)
    except RuntimeError as error:
        raise VclipError(
            "another process of this launch has died",
            found=str(error).splitlines()[0][:200],
            hint="its own error stands above; the same command goes on from the last saved step",
        ) from None
    sums = facts.tolist()
    parts = flat.split([parameter.numel() for parameter in parameters])
    for parameter, part, count in zip(parameters, parts, sums[len(numbers) :], strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype) if count else None
    return sums[: len(numbers)]
