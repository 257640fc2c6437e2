"""How long work reports its progress, without knowing who shows it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Opens a bar; the context gives a call that advances it by a number of items.

    total: how many items there are; done: how many of them were finished by an earlier run.
    """

    def __call__(
        self, description: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[[int], None]]: ...


@contextlib.contextmanager
def no_progress(description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress that shows nothing."""
    yield lambda count: None
