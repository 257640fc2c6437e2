"""Which videos make which update on which rank, and the frames of a sample."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vclip_cli.data.recipe import Optimizer, Recipe, Schedule
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.engine.training.samples import (
    plan_updates,
    seed_of,
    split_update,
    steps_of,
    train_indices,
)


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


@given(st.integers(1, 60), st.integers(1, 17))
def test_an_epoch_takes_every_video_once(count: int, size: int) -> None:
    recipe = _recipe(batch_size=size)
    steps, steps_an_epoch = steps_of(count, recipe)
    updates = list(plan_updates(count, recipe, seed=3, steps=steps))
    assert len(updates) == steps == 2 * steps_an_epoch
    for epoch in (0, 1):
        own = updates[epoch * steps_an_epoch : (epoch + 1) * steps_an_epoch]
        assert sorted(key for update in own for key in update) == [
            (epoch, position) for position in range(count)
        ]
        assert all(len(update) == size for update in own[:-1])


def test_updates_go_over_epochs_in_another_order_each() -> None:
    updates = list(plan_updates(6, _recipe(), seed=0, steps=5))
    assert [len(update) for update in updates] == [4, 2, 4, 2, 4]
    assert [update[0][0] for update in updates] == [0, 0, 1, 1, 2]
    orders = [[place for update in updates[i : i + 2] for _, place in update] for i in (0, 2)]
    assert orders[0] != orders[1]


@given(st.integers(1, 33), st.integers(1, 9), st.integers(1, 4), st.booleans())
def test_an_update_is_split_without_loss_and_pairs_stay_together(
    count: int, size: int, ranks: int, keep_pairs: bool
) -> None:
    update = [(0, position) for position in range(count)]
    batches = [
        batch
        for rank in range(ranks)
        for batch in split_update(update, Shard(rank, ranks), size, keep_pairs=keep_pairs)
    ]
    assert sorted(key for batch in batches for key in batch) == update
    assert all(len(batch) <= max(size, 2 if keep_pairs else 1) for batch in batches)
    if keep_pairs:
        together = {(0, count - 1)} if count % 2 else set()
        for batch in batches:
            for start in range(0, len(batch), 2):
                pair = batch[start : start + 2]
                assert set(pair) == together or pair[0][1] ^ 1 == pair[1][1]


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
