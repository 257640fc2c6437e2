"""Recipes: the learning rate over the steps, and values that `--set` changes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from vclip_cli.data.recipe import Optimizer, Recipe, Schedule
from vclip_cli.engine.training.optimiser import rate_factor
from vclip_cli.engine.training.overrides import changed, override


def test_the_rate_warms_up_and_falls() -> None:
    factors = [rate_factor(step, 100, 10, 0.01) for step in range(101)]
    assert factors[0] == 0.1 and factors[4] == 0.5 and factors[9] == factors[10] == 1
    assert factors[100] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_overrides_by_any_spelling_and_what_changed() -> None:
    recipe = Recipe(
        method="vita-clip", source="a test", frames=4, batch_size=4,
        optimizer=Optimizer(learning_rate=0.1), schedule=Schedule(epochs=2),
    )  # fmt: skip
    settings = ["learning_rate=1e-3", "schedule.epochs=7", "frames=2", "global_prompts=3"]
    used = override(recipe, settings, ["global_prompts"])
    assert used.optimizer.learning_rate == 1e-3
    assert used.schedule.epochs == 7
    assert used.frames == 2
    assert used.config == {"global_prompts": 3}
    assert set(changed(recipe, used)) == {
        "optimizer.learning_rate", "schedule.epochs", "frames", "config.global_prompts",
    }  # fmt: skip
    assert changed(recipe, recipe) == {}
