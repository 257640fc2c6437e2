"""Mixing, soft targets, and the losses of one class and of several labels per video."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from vclip_cli.data.recipe import Augmentation
from vclip_cli.engine.training.targets import (
    Mix,
    UpdateLabels,
    draw_labels,
    draw_mix,
    losses_of_videos,
    mix_frames,
    pad_labels,
    partners,
    starting_bias,
)

SIGMOID = {"slope": 1.0, "bias": 20.0}


def test_partners_are_neighbours() -> None:
    assert partners(torch.zeros(5)).tolist() == [1, 0, 3, 2, 4]


def test_mixup_and_cutmix_keep_the_share_they_say() -> None:
    frames = torch.stack([torch.full((2, 3, 10, 10), float(value)) for value in range(4)])
    mixed, own_weight = mix_frames(frames, Mix(0.25, None))
    assert own_weight == 0.25
    assert mixed[0].unique().tolist() == [0.75]
    mixed, own_weight = mix_frames(frames, Mix(0.5, (0.0, 0.5, 0.0, 0.6)))
    assert own_weight == pytest.approx(0.7)
    assert (mixed[0] == 0).float().mean().item() == pytest.approx(own_weight)
    assert (mixed[0] == 1).float().mean().item() == pytest.approx(1 - own_weight)


def test_mixing_is_drawn_from_the_step_and_off_by_default() -> None:
    assert draw_mix(Augmentation(), np.random.default_rng(0)) is None
    how = Augmentation(mixup=0.8, cutmix=1.0)
    draws = [draw_mix(how, np.random.default_rng(seed)) for seed in range(60)]
    assert draws[3] == draw_mix(how, np.random.default_rng(3))
    boxes = [draw.box is not None for draw in draws if draw is not None]
    assert 15 < sum(boxes) < 45


def test_the_loss_of_one_class_equals_torchs_own() -> None:
    logits, targets = torch.randn(6, 5), torch.randint(5, (6,))
    facts = {"classes": 5, "smoothing": 0.1, "labels": None, "probability": {}}
    wanted = cross_entropy(logits, targets, label_smoothing=0.1, reduction="none")
    torch.testing.assert_close(losses_of_videos(logits, targets, None, **facts), wanted)
    swapped = cross_entropy(
        logits, targets[[1, 0, 3, 2, 5, 4]], label_smoothing=0.1, reduction="none"
    )
    mixed = losses_of_videos(logits, targets, 0.3, **facts)
    torch.testing.assert_close(mixed, 0.3 * wanted + 0.7 * swapped)


def test_all_labels_of_the_videos_and_some_of_the_others_are_drawn() -> None:
    labels = draw_labels([7, 3, 7], 1000, 10, seed=4)
    assert len(labels.indices) == 12
    assert {3, 7} <= set(labels.indices.tolist())
    assert labels.indices.tolist() == sorted(set(labels.indices.tolist()))
    weights = dict(zip(labels.indices.tolist(), labels.weights.tolist(), strict=True))
    assert weights[3] == weights[7] == 1
    assert labels.weights.sum() == pytest.approx(1000)
    again = draw_labels([3, 7], 1000, 10, seed=4)
    assert torch.equal(again.indices, labels.indices)
    assert not torch.equal(draw_labels([3, 7], 1000, 10, seed=5).indices, labels.indices)
    assert len(draw_labels([], 8, 10, seed=0).indices) == 8


def test_the_loss_of_several_labels_is_binary_cross_entropy_and_mixed_with_the_partners() -> None:
    logits, targets = torch.randn(3, 6) + 20, pad_labels([(1, 5), (), (5,)])
    labels = draw_labels([1, 5], 6, 100, seed=0)
    facts = {"classes": 6, "smoothing": 0, "labels": labels, "probability": SIGMOID}
    hot = torch.tensor([[0, 1, 0, 0, 0, 1], [0] * 6, [0, 0, 0, 0, 0, 1.0]])
    mixed = hot * 0.75 + hot[[1, 0, 2]] * 0.25  # the last of an odd number is its own partner
    for own_weight, wanted in ((None, hot), (0.75, mixed)):
        plain = binary_cross_entropy_with_logits(logits - 20, wanted, reduction="none").mean(dim=1)
        found = losses_of_videos(logits, targets, own_weight, **facts)
        torch.testing.assert_close(found, plain)


def test_drawing_labels_leaves_the_loss_right_on_average() -> None:
    logits, targets = torch.randn(3, 40) + 20, pad_labels([(3,), (), (9,)])

    def loss(labels: UpdateLabels) -> torch.Tensor:
        facts = {"classes": 40, "smoothing": 0, "labels": labels, "probability": SIGMOID}
        return losses_of_videos(logits[:, labels.indices], targets, None, **facts)

    drawn = [loss(draw_labels([3, 9], 40, 8, seed)) for seed in range(400)]
    every = loss(draw_labels([3, 9], 40, 100, seed=0))
    torch.testing.assert_close(torch.stack(drawn).mean(dim=0), every, atol=0.05, rtol=0)


def test_the_starting_bias_gives_the_frequency_of_labels() -> None:
    bias = starting_bias(torch.full((4, 10), 25.0), [(1,), (2, 3), (), (4,)], 10)
    assert 1 / (1 + np.exp(-(25.0 - bias))) == pytest.approx(0.1)
