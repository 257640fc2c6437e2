"""Methods that are fitted on stored embeddings: what they are given, and what they return."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vclip_cli.common.long_work import Progress, no_progress


@dataclass(frozen=True)
class FitOptimizer:
    """An optimizer and its values; SGD's momentum is the first of `betas`."""

    name: str
    learning_rate: float
    weight_decay: float
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8

    def build(self, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimizer over these parameters."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.name == "sgd":
            return torch.optim.SGD(parameters, rate, momentum=self.betas[0], weight_decay=decay)
        return torch.optim.AdamW(parameters, rate, self.betas, self.epsilon, decay)


@dataclass(frozen=True)
class Fitting:
    """How to fit; None where the method's own paper decides.

    seed: of every draw; batch_size: embeddings a step; epochs: passes over the training list.
    progress: shows how far the fit is.
    """

    seed: int
    batch_size: int
    optimizer: FitOptimizer | None = None
    epochs: int | None = None
    progress: Progress = no_progress


@dataclass(frozen=True)
class Fitted:
    """losses: (step, loss, rate) rows. chosen: what was searched, JSON-able."""

    losses: list[list[float]]
    chosen: dict[str, Any] = field(default_factory=dict)


def train_on_embeddings(
    parameter: nn.Parameter,
    loss_of: Callable[[Tensor], Tensor],
    count: int,
    fitting: Fitting,
    *,
    epochs: int,
    optimizer: FitOptimizer,
    rate_of: Callable[[int, int], float],
) -> list[list[float]]:
    """Train one tensor on `count` embeddings, in batches of a new order in each epoch.

    loss_of: from the positions (B,) of a batch to its loss. rate_of: from the epoch and the step,
    both counted from 0, to the learning rate. Gives (step, loss, rate) rows.
    """
    how = optimizer.build([parameter])
    starts = range(0, count, fitting.batch_size)
    rng = np.random.default_rng(fitting.seed)
    rows: list[list[float]] = []
    with torch.enable_grad(), fitting.progress("training", epochs * len(starts)) as advance:
        for epoch in range(epochs):
            order = torch.from_numpy(rng.permutation(count)).to(parameter.device)
            for first in starts:
                rate = rate_of(epoch, len(rows))
                how.param_groups[0]["lr"] = rate
                loss = loss_of(order[first : first + fitting.batch_size])
                how.zero_grad(set_to_none=True)
                loss.backward()
                how.step()
                rows.append([len(rows) + 1, float(loss.detach()), rate])
                advance(1)
    return rows


def hold_back(targets: np.ndarray, seed: int, share: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Positions (kept, held back) of class indices (N,): `share` of each class, drawn by the seed.

    A class with at least two examples gives at least one and keeps at least one. A class with one
    example keeps it: with one shot a class nothing is held back.
    """
    rng = np.random.default_rng(seed)
    held: list[int] = []
    for target in np.unique(targets):
        members = np.flatnonzero(targets == target)
        count = min(max(1, round(share * len(members))), len(members) - 1)
        held += rng.permutation(members)[:count].tolist()
    mask = np.zeros(len(targets), bool)
    mask[held] = True
    return np.flatnonzero(~mask), np.flatnonzero(mask)


def shots_of(targets: np.ndarray) -> int:
    """The most examples that one class has."""
    return int(np.bincount(targets).max())
