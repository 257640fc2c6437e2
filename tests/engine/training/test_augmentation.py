"""Augmentation of training frames: drawn from the seed alone, as the published code draws it."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Augmentation
from vclip_cli.engine.training.augmentation import augment, names_a_direction, rand_augment

SPEC = Preprocessing(size=32, resize_to=36)
VITA_CLIP = "rand-m7-n4-mstd0.5-inc1"
ORIGINALS = Path(__file__).with_name("rand_augment_m7.npz")
"""What Vita-CLIP's own code makes of `input`, uint8 (48,72,3), by each operation at magnitude 7 and
each sign: every second row and column."""


def _clip(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (4, 48, 60, 3), dtype=np.uint8)


FULL = Augmentation.model_validate(
    {
        "crop": "multi-scale",
        "scales": [1.0, 0.875, 0.75, 0.66],
        "flip": 0.5,
        "grayscale": 0.2,
        "color_jitter": {
            "probability": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.2, "hue": 0.1,
            "per_frame": True,
        },
        "rand_augment": VITA_CLIP,
    }
)  # fmt: skip


@pytest.mark.parametrize("crop", ["center", "multi-scale", "random-resized"])
def test_augmentation_depends_on_the_seed_alone(crop: str) -> None:
    how = FULL.model_copy(
        update={"crop": crop, "scales": [] if crop != "multi-scale" else FULL.scales}
    )
    torch.manual_seed(1)
    first = augment(_clip(), SPEC, how, seed=7)
    torch.manual_seed(2)
    random.seed(2)
    np.random.seed(2)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    again = augment(_clip(), SPEC, how, seed=7)
    assert torch.get_rng_state().equal(before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert first.shape == (4, 32, 32, 3) and first.dtype == np.uint8
    assert (first == again).all()
    others = [augment(_clip(), SPEC, how, seed=seed) for seed in range(8, 16)]
    assert any((first != other).any() for other in others)


def test_flips_turn_all_frames_of_a_clip_and_can_be_forbidden() -> None:
    how = Augmentation(flip=1.0)
    plain = augment(_clip(), SPEC, Augmentation(), seed=1)
    assert (augment(_clip(), SPEC, how, seed=1) == plain[:, :, ::-1]).all()
    assert (augment(_clip(), SPEC, how, seed=1, may_flip=False) == plain).all()


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        (["Pushing something from left to right"], True),
        (["star spinning clockwise"], True),
        (["brightness", "leftover food"], False),
        (["push up", "pour"], False),
    ],
)
def test_classes_that_name_a_direction(texts: list[str], named: bool) -> None:
    assert names_a_direction(texts) == named


def test_each_operation_of_rand_augment_gives_the_pixels_of_the_original() -> None:
    originals = dict(np.load(ORIGINALS))
    frames = originals.pop("input")[None]
    found = set()
    for seed in range(250):
        [made] = rand_augment(frames, "rand-m7-n1-p1-inc1", seed)
        pixels = made[::2, ::2].astype(int)
        differences = {
            name: int(np.abs(pixels - wanted).max()) for name, wanted in originals.items()
        }
        nearest = min(differences, key=lambda name: differences[name])
        assert differences[nearest] <= 2, "bicubic sampling differs by 1 or 2 between versions"
        found.add(nearest)
    assert found == set(originals)


def test_rand_augment_skips_each_operation_half_of_the_time() -> None:
    frames = np.load(ORIGINALS)["input"][None]
    untouched = [np.array_equal(rand_augment(frames, VITA_CLIP, s), frames) for s in range(600)]
    assert 0.03 < np.mean(untouched) < 0.1  # a sixteenth; four draws


def test_the_frames_of_a_clip_share_one_draw_of_rand_augment() -> None:
    frame = _clip()[:1]
    clip = np.repeat(frame, 3, axis=0)
    for seed in range(8):
        made = rand_augment(clip, VITA_CLIP, seed)
        assert (made == made[:1]).all()
        assert (made[:1] == rand_augment(frame, VITA_CLIP, seed)).all()


@pytest.mark.parametrize("setting", ["augmix-m7", "rand", "rand-", "rand-m7-n4000", "rand-x1"])
def test_another_notation_than_rand_augments_is_refused(setting: str) -> None:
    with pytest.raises(ValidationError, match="not a RandAugment setting"):
        Augmentation(rand_augment=setting)
