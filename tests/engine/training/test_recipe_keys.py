"""Every key of a recipe that no list of videos shows changes pixels, labels, rates or weights.

`tests/data/test_protocol_keys.py` names these keys; the test here fails for one without an effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_clip import BUILDS, tiny_backbone

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Augmentation, Optimizer, Recipe, SamplingRules, Schedule
from vclip_cli.engine.training.augmentation import augment
from vclip_cli.engine.training.optimiser import build_optimizer, set_rate
from vclip_cli.engine.training.samples import train_indices
from vclip_cli.engine.training.targets import draw_labels, draw_mix, losses_of_videos

FRAMES = np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), dtype=np.uint8)
SPEC = Preprocessing(size=16, resize_to=16)
JITTER = {"probability": 1.0, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}


def recipe(**changes: Any) -> Recipe:
    """A recipe with a few values of its own."""
    plain = {
        "method": "x-clip", "source": "a test", "frames": 4, "batch_size": 4,
        "optimizer": Optimizer(learning_rate=0.1), "schedule": Schedule(epochs=4),
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


def pixels(how: dict[str, Any]) -> bytes:
    """What augmentation makes of some frames, over enough draws to see a small probability."""
    chosen = Augmentation(**how)
    return b"".join(augment(FRAMES, SPEC, chosen, seed).tobytes() for seed in range(12))


@pytest.mark.parametrize(
    ("before", "key", "value"),
    [
        ({}, "crop", "multi-scale"),
        ({"crop": "multi-scale"}, "scales", [0.5]),
        ({"crop": "random-resized"}, "scales", [0.1, 0.2]),
        ({"crop": "random-resized"}, "ratio", [2.0, 3.0]),
        ({}, "flip", 0.5),
        ({}, "grayscale", 0.5),
        ({}, "rand_augment", "rand-m7-n4-mstd0.5-inc1"),
        ({}, "color_jitter", JITTER),
        *(
            ({"color_jitter": JITTER}, "color_jitter", {**JITTER, key: value})
            for key, value in {
                "probability": 0.1, "brightness": 0.9, "contrast": 0.9, "saturation": 0.9,
                "hue": 0.5, "per_frame": True,
            }.items()
        ),
    ],
)  # fmt: skip
def test_augmentation_changes_pixels(before: dict[str, Any], key: str, value: Any) -> None:
    assert pixels({**before, key: value}) != pixels(before)


@pytest.mark.parametrize(
    ("before", "key", "value"),
    [
        ({}, "mixup", 0.8),
        ({}, "cutmix", 1.0),
        ({"mixup": 0.8, "cutmix": 1.0, "switch": 0.1}, "switch", 0.9),
    ],
)
def test_mixing_changes_what_is_drawn(before: dict[str, Any], key: str, value: Any) -> None:
    def drawn(how: dict[str, Any]) -> list[Any]:
        chosen = Augmentation(**how)
        return [draw_mix(chosen, np.random.default_rng(seed)) for seed in range(20)]

    assert drawn({**before, key: value}) != drawn(before)


def test_label_smoothing_and_negatives_change_targets() -> None:
    logits, facts = torch.tensor([[0.0, 1, 2]]), {"classes": 3, "labels": None, "probability": {}}
    hard, soft = (
        losses_of_videos(logits, torch.tensor([2]), None, smoothing=smoothing, **facts)
        for smoothing in (0, 0.1)
    )
    assert not torch.equal(hard, soft)
    few, more = (draw_labels([1], 50, negatives, 0).indices for negatives in (4, 9))
    assert len(few) < len(more)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"train": "uniform"}),
        ({"train": "dense"}, {"train": "dense", "stride": 3}),
    ],
)
def test_sampling_changes_the_frames(before: dict[str, Any], after: dict[str, Any]) -> None:
    def indices(values: dict[str, Any]) -> list[list[int]]:
        own = recipe(sampling=SamplingRules(**values))
        return [train_indices(90, own, seed).tolist() for seed in range(4)]

    assert indices(before) != indices(after)


def rates(schedule: Schedule) -> list[float]:
    """The base rate of each of 40 steps of 10 an epoch."""
    own = recipe(schedule=schedule)
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "factor": 1.0}], lr=0.1)
    return [set_rate(optimizer, own, step, 40, 10) for step in range(40)]


@pytest.mark.parametrize(
    "change", [{"name": "constant"}, {"warmup_epochs": 1}, {"final_fraction": 0.5}]
)
def test_a_schedule_changes_rates(change: dict[str, Any]) -> None:
    assert rates(Schedule(epochs=4, **change)) != rates(Schedule(epochs=4))


def weights_after_two_steps(optimizer: Optimizer) -> torch.Tensor:
    """The trained tensors of a tiny X-CLIP after two steps along made-up gradients."""
    adapter = BUILDS["x-clip"](tiny_backbone())
    built = build_optimizer(adapter, recipe(optimizer=optimizer))
    set_rate(built, recipe(optimizer=optimizer), 0, 4, 4)
    parameters = [entry.parameter for entry in adapter.trainable().values()]
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        built.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


@pytest.mark.parametrize(
    "change",
    [
        {"name": "sgd"},
        {"learning_rate": 0.02},
        {"betas": (0.5, 0.9)},
        {"epsilon": 0.1},
        {"weight_decay": 0.3},
        {"weight_decay": 0.3, "decay_biases": True},
        {"rate_factors": {"base": 3.0}},
    ],
)
def test_an_optimizer_changes_weights(change: dict[str, Any]) -> None:
    plain = {"learning_rate": 0.01}
    if "decay_biases" in change:
        plain["weight_decay"] = 0.3
    before = weights_after_two_steps(Optimizer(**plain))
    assert not torch.equal(weights_after_two_steps(Optimizer(**{**plain, **change})), before)


@pytest.mark.parametrize(
    ("key", "text", "place"),
    [
        ("text", "text: {templates: ['a still of a {class}.']}", ("settings", "template")),
        ("views", "views: {clips: 2}", ("settings", "clips")),
        ("crops", "views: {crops: 3}", ("settings", "crops")),
        ("frames", "frames: 4", ("settings", "frames")),
    ],
)
def test_views_and_text_of_a_protocol_change_an_evaluation(
    vclip: Callable[..., Any], key: str, text: str, place: tuple[str, str]
) -> None:
    import json
    from pathlib import Path

    plain = (
        "name: own\nversion: 1\ntitle: t\nsource: s\nmetrics: [top1]\n"
        "test: [{dataset: '*', split: test}]\n"
    )
    found = []
    for number, more in enumerate(("frames: 8\n", "" if key == "frames" else "frames: 8\n")):
        Path("own.yaml").write_text(plain + more + (text + "\n" if number else ""))
        ran = vclip("eval", "-p", "own.yaml", "-d", "toy-shapes", "--dry-run")
        assert ran.code == 0, ran.err
        [plan] = json.loads(ran.out)["plans"]
        found.append(plan)
    assert found[0][place[0]][place[1]] != found[1][place[0]][place[1]]
