"""AdamW over an adapter's groups: each with its own rate, decay only where the paper has it."""

from __future__ import annotations

import torch

from vclip_cli.common.errors import UsageError
from vclip_cli.data.recipe import Recipe
from vclip_cli.engine.training.schedule import rate_factor
from vclip_cli.models.contract import Adapter


def build_optimizer(adapter: Adapter, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer with one parameter group per learning-rate group and decay.

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
    """Whether all tensors are updated by one kernel; None leaves it to torch."""
    return True if device.type == "cuda" else None


def set_rate(
    optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int, steps_an_epoch: int
) -> float:
    """Set the rates of this step on all groups; gives the base rate."""
    assert recipe.schedule is not None and recipe.optimizer is not None  # checked by plan_run
    schedule, base = recipe.schedule, recipe.optimizer.learning_rate
    warmup = round(schedule.warmup_epochs * steps_an_epoch)
    floor = 1.0 if schedule.name == "constant" else schedule.final_fraction
    rate = base * rate_factor(step, steps, warmup, floor)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
    return rate
