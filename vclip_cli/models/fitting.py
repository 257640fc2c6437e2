"""What a method that is fitted on stored embeddings is told, and what it tells in return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn


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
    """

    seed: int
    batch_size: int
    optimizer: FitOptimizer | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Fitted:
    """losses: (step, loss, rate) rows; chosen: what was searched for, and on what, JSON-able."""

    losses: list[list[float]]
    chosen: dict[str, Any] = field(default_factory=dict)


def hold_back(targets: np.ndarray, seed: int, share: float = 0.25) -> tuple[np.ndarray, np.ndarray]:
    """Positions (kept, held back) of class indices (N,): `share` of each class, drawn by the seed.

    Each class with at least two gives at least one and keeps at least one; a class with a single
    one keeps it. So with one shot a class nothing is held back.
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
