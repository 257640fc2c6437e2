"""The optimizer of a recipe, and its learning rate at every step."""

from __future__ import annotations

import math

import torch

from vclip_cli.common.errors import UsageError
from vclip_cli.data.recipe import Recipe
from vclip_cli.models.contract import Adapter


def build_optimizer(adapter: Adapter, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer, with a parameter group for each learning-rate group and decay.

    Raises UsageError for a method that trains nothing.
    """
    spec = recipe.optimizer
    assert spec is not None  # checked by plan_run
    grouped: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for entry in adapter.trainable().values():
        decays = entry.decay or spec.decay_biases
        grouped.setdefault((entry.group, decays), []).append(entry.parameter)
    if not grouped:
        raise UsageError(f"the method {adapter.name!r} has nothing to train")
    factors = {**adapter.learning_rate_factors, **spec.rate_factors}
    groups = [
        {
            "params": parameters,
            "weight_decay": spec.weight_decay if decays else 0.0,
            "factor": factors[group],
        }
        for (group, decays), parameters in grouped.items()
    ]
    if spec.name == "sgd":
        return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.betas[0])
    return torch.optim.AdamW(
        groups,
        lr=spec.learning_rate,
        betas=spec.betas,
        eps=spec.epsilon,
        fused=fused_on(adapter.device),
    )


def fused_on(device: torch.device) -> bool | None:
    """AdamW's `fused`: one kernel updates all tensors on a GPU. None leaves the choice to torch."""
    return True if device.type == "cuda" else None


def rate_factor(step: int, steps: int, warmup: int, floor: float) -> float:
    """The factor on the base rate at `step` (from 0) of `steps`.

    It rises linearly over `warmup` steps, the last of which has the full rate, then falls to
    `floor` as a half cosine. The first step has a rate above 0, so it is not wasted.
    """
    if step < warmup:
        return (step + 1) / warmup
    remaining = max(steps - warmup, 1)
    progress = min((step - warmup) / remaining, 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(
    optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int, steps_an_epoch: int
) -> float:
    """Set the learning rates of this step on all groups; gives the base rate."""
    assert recipe.schedule is not None and recipe.optimizer is not None  # checked by plan_run
    schedule, base = recipe.schedule, recipe.optimizer.learning_rate
    warmup = round(schedule.warmup_epochs * steps_an_epoch)
    floor = 1.0 if schedule.name == "constant" else schedule.final_fraction
    rate = base * rate_factor(step, steps, warmup, floor)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate
