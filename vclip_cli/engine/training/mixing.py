"""Mixup and cutmix between neighbours of the shuffled order, and soft targets.

Sample 2j is mixed with sample 2j+1 of a global batch. The order is random, so a neighbour is as
good a partner as any; and since partners always travel together, the outcome depends neither on how
a batch is cut into accumulation steps nor on how many processes share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from vclip_cli.data.recipe import Augmentation


@dataclass(frozen=True)
class Mix:
    """What one global batch does: keep `share` of each sample; box is in fractions of the sides.

    share: the weight of a sample's own pixels and label; box: (top, bottom, left, right) that the
    partner fills, None for mixup.
    """

    share: float
    box: tuple[float, float, float, float] | None


def mixes(how: Augmentation) -> bool:
    """Whether samples are mixed at all."""
    return how.mixup > 0 or how.cutmix > 0


def draw_mix(how: Augmentation, rng: np.random.Generator) -> Mix | None:
    """Draw what a global batch does; None when nothing is mixed."""
    if not mixes(how):
        return None
    use_cutmix = how.cutmix > 0 and (how.mixup == 0 or rng.random() < how.switch)
    alpha = how.cutmix if use_cutmix else how.mixup
    share = float(rng.beta(alpha, alpha))
    if not use_cutmix:
        return Mix(share, None)
    side = float(np.sqrt(1 - share))
    middle_y, middle_x = rng.random(2)
    top, bottom = np.clip([middle_y - side / 2, middle_y + side / 2], 0, 1)
    left, right = np.clip([middle_x - side / 2, middle_x + side / 2], 0, 1)
    return Mix(share, (float(top), float(bottom), float(left), float(right)))


def partners(samples: Tensor) -> Tensor:
    """The position of each sample's partner (B,); the last of an odd number is its own."""
    places = torch.arange(len(samples), device=samples.device)
    return torch.where((places ^ 1) < len(samples), places ^ 1, places)


def mix_frames(frames: Tensor, mix: Mix) -> tuple[Tensor, float]:
    """Mix float frames (B,T,C,H,W) with their partners'; gives them and the share that remained.

    For cutmix the share is the exact one of the pixels that were kept.
    """
    others = frames[partners(frames)]
    if mix.box is None:
        return frames * mix.share + others * (1 - mix.share), mix.share
    height, width = frames.shape[-2:]
    top, bottom = round(mix.box[0] * height), round(mix.box[1] * height)
    left, right = round(mix.box[2] * width), round(mix.box[3] * width)
    mixed = frames.clone()
    mixed[..., top:bottom, left:right] = others[..., top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def soft_targets(targets: Tensor, classes: int, smoothing: float, share: float | None) -> Tensor:
    """Class indices (B,) to target distributions (B,K), smoothed, and mixed with the partners'."""
    hard = (targets[:, None] == torch.arange(classes, device=targets.device)).float()
    soft = hard * (1 - smoothing) + smoothing / classes
    if share is None:
        return soft
    return soft * share + soft[partners(soft)] * (1 - share)


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of logits (B,K) with target distributions (B,K), one value a sample (B,)."""
    return -(targets * log_softmax(logits.float(), dim=-1)).sum(dim=-1)
