"""The parts of training: augmentation, mixing, schedule, samples, overrides."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vclip_cli.common.errors import SpecError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Augmentation, Optimizer, Recipe, Schedule
from vclip_cli.engine.training.augmentation import (
    augment,
    is_side_sensitive,
    parse_rand_augment,
)
from vclip_cli.engine.training.mixing import (
    Mix,
    draw_mix,
    mix_frames,
    partners,
    soft_cross_entropy,
    soft_targets,
)
from vclip_cli.engine.training.overrides import changed, override
from vclip_cli.engine.training.samples import train_indices
from vclip_cli.engine.training.schedule import rate_factor
from vclip_cli.engine.training.updates import cut, plan_updates, seed_of, updates_of_epoch

SPEC = Preprocessing(size=32, resize_to=36)


def _recipe(**values: object) -> Recipe:
    return Recipe.model_validate(
        {
            "method": "vita-clip",
            "source": "a test",
            "frames": 4,
            "batch_size": 4,
            "optimizer": Optimizer(learning_rate=0.1).model_dump(),
            "schedule": Schedule(epochs=2).model_dump(),
            **values,
        }
    )


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
        "rand_augment": "rand-m7-n4-mstd0.5-inc1",
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
    state = torch.get_rng_state()
    again = augment(_clip(), SPEC, how, seed=7)
    assert torch.get_rng_state().equal(state), "the global generator was touched"
    assert first.shape == (4, 32, 32, 3) and first.dtype == np.uint8
    assert (first == again).all()
    others = [augment(_clip(), SPEC, how, seed=seed) for seed in range(8, 16)]
    assert any((first != other).any() for other in others)


def test_flips_turn_all_frames_of_a_clip_and_can_be_forbidden() -> None:
    how = Augmentation(flip=1.0)
    plain = augment(_clip(), SPEC, Augmentation(), seed=1)
    assert (augment(_clip(), SPEC, how, seed=1) == plain[:, :, ::-1]).all()
    assert (augment(_clip(), SPEC, how, seed=1, flip=False) == plain).all()


@pytest.mark.parametrize(
    ("texts", "sensitive"),
    [
        (["Pushing something from left to right"], True),
        (["star spinning clockwise"], True),
        (["brightness", "leftover food"], False),
        (["push up", "pour"], False),
    ],
)
def test_side_sensitive_classes_are_told(texts: list[str], sensitive: bool) -> None:
    assert is_side_sensitive(texts) == sensitive


def test_rand_augment_notation() -> None:
    assert parse_rand_augment("rand-m7-n4-mstd0.5-inc1") == (4, 7)
    with pytest.raises(SpecError):
        parse_rand_augment("augmix-m7")


def test_partners_are_neighbours() -> None:
    assert partners(torch.zeros(5)).tolist() == [1, 0, 3, 2, 4]


def test_mixup_and_cutmix_keep_the_share_they_say() -> None:
    frames = torch.stack([torch.full((2, 3, 10, 10), float(value)) for value in range(4)])
    mixed, share = mix_frames(frames, Mix(0.25, None))
    assert share == 0.25
    assert mixed[0].unique().tolist() == [0.75]
    mixed, share = mix_frames(frames, Mix(0.5, (0.0, 0.5, 0.0, 0.6)))
    assert share == pytest.approx(0.7)
    assert (mixed[0] == 0).float().mean().item() == pytest.approx(share)
    assert (mixed[0] == 1).float().mean().item() == pytest.approx(1 - share)


def test_mixing_is_drawn_from_the_step_and_off_by_default() -> None:
    assert draw_mix(Augmentation(), np.random.default_rng(0)) is None
    how = Augmentation(mixup=0.8, cutmix=1.0)
    draws = [draw_mix(how, np.random.default_rng(seed)) for seed in range(60)]
    assert draws[3] == draw_mix(how, np.random.default_rng(3))
    boxes = [draw.box is not None for draw in draws if draw is not None]
    assert 15 < sum(boxes) < 45


def test_soft_cross_entropy_equals_torch() -> None:
    logits, targets = torch.randn(6, 5), torch.randint(5, (6,))
    soft = soft_targets(targets, 5, 0.1, None)
    wanted = torch.nn.functional.cross_entropy(
        logits, targets, label_smoothing=0.1, reduction="none"
    )
    torch.testing.assert_close(soft_cross_entropy(logits, soft), wanted)
    torch.testing.assert_close(soft_targets(targets, 5, 0.1, 0.3).sum(dim=1), torch.ones(6))


@given(st.integers(1, 60), st.integers(1, 17), st.integers(0, 5))
def test_an_epoch_takes_every_video_once(count: int, size: int, epoch: int) -> None:
    updates = updates_of_epoch(count, size, seed=3, epoch=epoch)
    assert sorted(position for update in updates for position in update) == list(range(count))
    assert all(len(update) == size for update in updates[:-1])


@given(st.integers(1, 33), st.integers(1, 9), st.booleans())
def test_an_update_is_cut_without_loss_and_pairs_stay_together(
    count: int, size: int, paired: bool
) -> None:
    update = [(0, position) for position in range(count)]
    pieces = cut(update, size, paired)
    assert [key for piece in pieces for key in piece] == update
    if paired:
        assert all(len(piece) % 2 == 0 for piece in pieces[:-1])


def test_updates_go_over_epochs() -> None:
    recipe = _recipe()
    updates = list(plan_updates(6, recipe, seed=0, steps=5))
    assert [len(update) for update in updates] == [4, 2, 4, 2, 4]
    assert [update[0][0] for update in updates] == [0, 0, 1, 1, 2]


@given(st.integers(1, 90), st.sampled_from(["random", "uniform", "dense"]), st.integers(0, 9))
def test_training_frames_lie_in_the_video(count: int, rule: str, seed: int) -> None:
    recipe = _recipe(sampling={"train": rule, "stride": 3 if rule == "dense" else 1})
    indices = train_indices(count, recipe, seed)
    assert indices.shape == (4,)
    assert indices.min() >= 0 and indices.max() < count
    assert (indices == train_indices(count, recipe, seed)).all()


def test_seeds_do_not_collide_and_zero_is_one() -> None:
    seeds = {seed_of("sample", seed, epoch, "v") for seed in range(5) for epoch in range(5)}
    assert len(seeds) == 25


def test_the_rate_warms_up_and_falls() -> None:
    factors = [rate_factor(step, 100, 10, 0.01) for step in range(101)]
    assert factors[0] == 0.1 and factors[4] == 0.5 and factors[9] == factors[10] == 1
    assert factors[100] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_overrides_by_any_spelling_and_what_changed() -> None:
    recipe = _recipe()
    settings = ["learning_rate=1e-3", "schedule.epochs=7", "frames=2", "global_prompts=3"]
    used = override(recipe, settings, ["global_prompts"])
    assert used.optimizer.learning_rate == 1e-3
    assert used.schedule.epochs == 7
    assert used.frames == 2
    assert used.config == {"global_prompts": 3}
    assert set(changed(recipe, used)) == {
        "optimizer.learning_rate", "schedule.epochs", "frames", "config.global_prompts", "config",
    } - ({"config"} if "config" not in changed(recipe, used) else set())  # fmt: skip
    assert changed(recipe, recipe) == {}
