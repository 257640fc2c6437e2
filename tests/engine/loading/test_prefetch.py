"""Batches that are made ahead of their use."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from vclip_cli.engine.loading.videos import prefetched


def test_items_keep_their_order_and_are_made_ahead() -> None:
    made: list[int] = []
    third = threading.Event()

    def make() -> Iterator[int]:
        for number in range(50):
            made.append(number)
            if number == 2:
                third.set()
            yield number

    items = prefetched(make(), depth=2)
    assert next(items) == 0
    assert third.wait(10), "nothing is made while the first is used"
    assert list(items) == list(range(1, 50)) == made[1:]


def test_an_error_comes_in_its_turn() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise KeyboardInterrupt

    items = prefetched(make())
    assert next(items) == 1
    with pytest.raises(KeyboardInterrupt):
        next(items)


def test_who_leaves_early_closes_what_was_begun() -> None:
    closed = threading.Event()

    def make() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    items = prefetched(make(), depth=1)
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert closed.wait(10)
    assert not [t for t in threading.enumerate() if t.name == "vclip-ahead"]
