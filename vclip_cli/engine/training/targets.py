"""Targets and losses: mixed videos, soft targets, labels.

B videos, K classes or labels of the run, C labels of an update, T C H W as everywhere.

Mixing: video 2j is mixed with video 2j+1 of a global batch. The order is random, so any neighbour
will do. Partners always stay together, so the result depends neither on how a
batch is split into micro-batches nor on how many processes share it.

Several labels per video: binary cross-entropy on the labels of an update's videos and on some drawn
labels that none of these videos has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.data.recipe import Augmentation, Recipe
from vclip_cli.models.tensors import to_device

NO_LABEL = -1
"""Fills the rows of videos that have fewer labels than others."""


@dataclass(frozen=True)
class Mix:
    """How the videos of one global batch are mixed.

    own_weight: the weight of a video's own pixels and label, 0 to 1; the partner has the rest.
    box: None for mixup; for cutmix (top, bottom, left, right), which the partner's pixels fill, as
    fractions of the height and the width.
    """

    own_weight: float
    box: tuple[float, float, float, float] | None


def mixes(how: Augmentation) -> bool:
    """Whether videos are mixed."""
    return how.mixup > 0 or how.cutmix > 0


def draw_mix(how: Augmentation, rng: np.random.Generator) -> Mix | None:
    """Draw how a global batch is mixed; None when the recipe has no mixing."""
    if not mixes(how):
        return None
    use_cutmix = how.cutmix > 0 and (how.mixup == 0 or rng.random() < how.switch)
    alpha = how.cutmix if use_cutmix else how.mixup
    own_weight = float(rng.beta(alpha, alpha))
    if not use_cutmix:
        return Mix(own_weight, None)
    side = float(np.sqrt(1 - own_weight))
    middle_y, middle_x = rng.random(2)
    top, bottom = np.clip([middle_y - side / 2, middle_y + side / 2], 0, 1)
    left, right = np.clip([middle_x - side / 2, middle_x + side / 2], 0, 1)
    return Mix(own_weight, (float(top), float(bottom), float(left), float(right)))


def partners(videos: Tensor) -> Tensor:
    """The position of each video's partner, (B,). The last of an odd number is its own partner."""
    places = torch.arange(len(videos), device=videos.device)
    return torch.where((places ^ 1) < len(videos), places ^ 1, places)


def mix_frames(frames: Tensor, mix: Mix) -> tuple[Tensor, float]:
    """Mix float frames (B,T,C,H,W) with their partners'.

    Gives the mixed frames and the own weight. For cutmix that is the exact share of kept pixels.
    """
    others = frames[partners(frames)]
    if mix.box is None:
        return frames * mix.own_weight + others * (1 - mix.own_weight), mix.own_weight
    height, width = frames.shape[-2:]
    top, bottom = round(mix.box[0] * height), round(mix.box[1] * height)
    left, right = round(mix.box[2] * width), round(mix.box[3] * width)
    mixed = frames.clone()
    mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def mix_targets(targets: Tensor, own_weight: float | None) -> Tensor:
    """Mix target rows (B,…) with their partners'; None leaves them as they are."""
    if own_weight is None:
        return targets
    return targets * own_weight + targets[partners(targets)] * (1 - own_weight)


@dataclass(frozen=True)
class UpdateLabels:
    """The labels on which the loss of one update is computed.

    indices: (C,) in ascending order, on the CPU. weights: (C,), 1 for a label that a video of the
    update has. A drawn label also stands for those not drawn: with its weight, the expected loss
    equals the loss over all labels.
    """

    indices: Tensor
    weights: Tensor


def draw_labels(present: Iterable[int], count: int, negatives: int, seed: int) -> UpdateLabels:
    """All labels of `present`, and at most `negatives` others of the `count` labels."""
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


def pad_labels(targets: Sequence[Sequence[int]]) -> Tensor:
    """The labels of each video as rows of equal length (B,L), filled up with NO_LABEL."""
    longest = max((len(labels) for labels in targets), default=0)
    rows = [[*labels, *[NO_LABEL] * (longest - len(labels))] for labels in targets]
    return torch.tensor(rows, dtype=torch.long).reshape(len(targets), longest)


def starting_bias(logits: Tensor, targets: Sequence[Sequence[int]], count: int) -> float:
    """The bias with which the untrained method predicts the labels' frequency on average.

    logits: (B,C) of some training videos before the first update. Without this bias all
    probabilities would start near 1, since CLIP's scaled cosines are far above 0.
    """
    frequency = sum(len(labels) for labels in targets) / (max(len(targets), 1) * count)
    frequency = min(max(frequency, 1e-6), 1 - 1e-6)
    return float(logits.float().mean()) - float(np.log(frequency / (1 - frequency)))


def losses_of_videos(
    logits: Tensor,
    targets: Tensor,
    own_weight: float | None,
    *,
    classes: int,
    smoothing: float,
    labels: UpdateLabels | None,
    probability: Mapping[str, float],
) -> Tensor:
    """One loss per video (B,), from logits (B,K), or (B,C) of the update's labels.

    targets: class indices (B,), or padded labels (B,L). For several labels per video: binary
    cross-entropy of sigmoid(slope · (logit - bias)), with slope and bias from `probability`; the
    mean over all K labels, estimated for those not drawn.
    """
    if labels is None:
        hard = (targets[:, None] == torch.arange(classes, device=targets.device)).float()
        wanted = mix_targets(hard * (1 - smoothing) + smoothing / classes, own_weight)
        return cross_entropy(logits.float(), wanted, reduction="none")
    indices = to_device(labels.indices, targets.device)
    wanted = mix_targets((targets[:, :, None] == indices).any(dim=1).float(), own_weight)
    inner = probability["slope"] * (logits.float() - probability["bias"])
    losses = binary_cross_entropy_with_logits(inner, wanted, reduction="none")
    return (losses * to_device(labels.weights, losses.device)).sum(dim=1) / classes


def check_multi_label(recipe: Recipe, targets: Sequence[Sequence[int]], *, fits: bool) -> None:
    """Refuse what makes no sense with several labels per video. Raises UsageError and DataError.

    fits: whether the method is fitted on stored embeddings.
    """
    if fits:
        raise UsageError(
            f"the method {recipe.method!r} needs exactly one class per video",
            hint="see vclip methods for those that train with several labels",
        )
    if recipe.augmentation.label_smoothing:
        raise UsageError(
            "label smoothing cannot be used with several labels per video: it moves a part of one"
            " label to the others",
            found=str(recipe.augmentation.label_smoothing),
            hint="--set augmentation.label_smoothing=0",
        )
    if not any(targets):
        raise DataError("no training video has a label")
