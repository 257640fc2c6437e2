"""Which videos make which update, and which process does what of it: all from seeds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from vclip_cli.data.recipe import Recipe
from vclip_cli.engine.runs.shards import Shard


def seed_of(*parts: object) -> int:
    """A 63-bit seed from anything that names a draw: independent of order, process and worker."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def updates_of_epoch(count: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The positions of `count` videos in the order of this epoch, cut into updates."""
    order = np.random.default_rng(seed_of("order", seed, epoch)).permutation(count).tolist()
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def steps_of(count: int, recipe: Recipe) -> tuple[int, int]:
    """(steps in all, steps an epoch) for `count` training videos."""
    assert recipe.schedule is not None  # checked by plan_run
    an_epoch = -(-count // recipe.batch_size)
    if recipe.schedule.steps is not None:
        return recipe.schedule.steps, an_epoch
    assert recipe.schedule.epochs is not None  # the schema has one of the two
    return recipe.schedule.epochs * an_epoch, an_epoch


def plan_updates(
    count: int, recipe: Recipe, seed: int, steps: int
) -> Iterator[list[tuple[int, int]]]:
    """The (epoch, position) keys of each update, `steps` of them."""
    done, epoch = 0, 0
    while done < steps:
        for update in updates_of_epoch(count, recipe.batch_size, seed, epoch):
            if done == steps:
                return
            yield [(epoch, position) for position in update]
            done += 1
        epoch += 1


def share_of(
    update: Sequence[tuple[int, int]], share: Shard, paired: bool
) -> list[tuple[int, int]]:
    """What one of several processes does of an update; pairs that are mixed stay together."""
    size = 2 if paired else 1
    units = [update[start : start + size] for start in range(0, len(update), size)]
    return [key for unit in share.of(units) for key in unit]


def cut(update: Sequence[tuple[int, int]], size: int, paired: bool) -> list[list[tuple[int, int]]]:
    """An update in pieces of at most `size`; pairs that are mixed stay together."""
    if paired:
        size = max(2, size - size % 2)
    return [list(update[start : start + size]) for start in range(0, len(update), size)]
