"""Training with several labels a video: binary cross-entropy on the labels of each update.

B videos, K labels of the run, C labels of an update: all that one of its videos has, and some drawn
ones that none has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.data.recipe import Recipe
from vclip_cli.engine.training.mixing import partners
from vclip_cli.models.tensors import to_device

NO_LABEL = -1
"""Fills the rows of videos with fewer labels than the most."""


@dataclass(frozen=True)
class UpdateLabels:
    """The labels that an update is about. indices: (C,) in ascending order, on the CPU.

    weights: (C,), 1 for a label that a video of the update has; a drawn one stands for those that
    were not drawn, so that the loss is, in expectation, that over all labels.
    """

    indices: Tensor
    weights: Tensor


def draw_labels(present: Iterable[int], count: int, negatives: int, seed: int) -> UpdateLabels:
    """All labels of `present` and at most `negatives` of the other ones of `count`."""
    own = np.unique(np.fromiter(present, dtype=np.int64))
    others = np.setdiff1d(np.arange(count), own, assume_unique=True)
    drawn, weight = others, 1.0
    if len(others) > negatives:
        drawn = np.random.default_rng(seed).choice(others, size=negatives, replace=False)
        weight = len(others) / negatives
    indices = np.concatenate([own, drawn])
    weights = np.concatenate([np.ones(len(own)), np.full(len(drawn), weight)])
    order = np.argsort(indices)
    return UpdateLabels(torch.from_numpy(indices[order]), torch.from_numpy(weights[order]).float())


def padded(targets: Sequence[Sequence[int]]) -> Tensor:
    """Labels of each video, in rows (B,L) filled up with NO_LABEL."""
    longest = max((len(labels) for labels in targets), default=0)
    rows = [[*labels, *[NO_LABEL] * (longest - len(labels))] for labels in targets]
    return torch.tensor(rows, dtype=torch.long).reshape(len(targets), longest)


def multi_hot(targets: Tensor, labels: UpdateLabels, share: float | None) -> Tensor:
    """Padded rows (B,L) to targets (B,C) in 0..1; with `share`, mixed with the partners'."""
    indices = to_device(labels.indices, targets.device)
    hot = (targets[:, :, None] == indices).any(dim=1).float()
    if share is None:
        return hot
    return hot * share + hot[partners(hot)] * (1 - share)


def label_loss(
    logits: Tensor, wanted: Tensor, labels: UpdateLabels, slope: float, bias: float, count: int
) -> Tensor:
    """Binary cross-entropy of sigmoid(slope · (logit - bias)), one value a video (B,).

    logits, wanted: (B,C). The mean over all `count` labels, those that were not drawn estimated.
    """
    inner = slope * (logits.float() - bias)
    losses = binary_cross_entropy_with_logits(inner, wanted, reduction="none")
    return (losses * to_device(labels.weights, losses.device)).sum(dim=1) / count


def starting_bias(logits: Tensor, targets: Sequence[Sequence[int]], count: int) -> float:
    """The bias with which the untrained method predicts the labels' frequency on average.

    logits: (B,C) of some training videos before the first update. Without it every probability
    would start at 1, since all cosines of CLIP lie far above 0.
    """
    share = sum(len(labels) for labels in targets) / (max(len(targets), 1) * count)
    share = min(max(share, 1e-6), 1 - 1e-6)
    return float(logits.float().mean()) - float(np.log(share / (1 - share)))


def check_recipe(recipe: Recipe, targets: Sequence[Sequence[int]], *, fits: bool) -> None:
    """Refuse what has no meaning for several labels. Raises UsageError, or DataError.

    fits: whether the method is fitted on stored embeddings.
    """
    if fits:
        raise UsageError(
            f"the method {recipe.method!r} is fitted to one class a video",
            hint="see vclip methods for those that train with several labels",
        )
    if recipe.augmentation.label_smoothing:
        raise UsageError(
            "label smoothing spreads a part of one label over the others; with several labels a"
            " video each is judged by itself",
            found=str(recipe.augmentation.label_smoothing),
            hint="--set augmentation.label_smoothing=0",
        )
    if not any(targets):
        raise DataError("no training video has a label")
