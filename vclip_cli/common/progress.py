"""How long work reports its progress, and the bar that shows it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol


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


def progress_of(asked: Progress | bool | None) -> Progress:
    """The progress that a function of the library reports to.

    asked: one of the caller's own; True for a bar, False for none; None for a bar in a terminal or
    a notebook.
    """
    if asked is None:
        asked = sys.stderr.isatty() or "ipykernel" in sys.modules
    if isinstance(asked, bool):
        return _bar_on_stderr if asked else no_progress
    return asked


@contextlib.contextmanager
def _bar_on_stderr(description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    if not total:
        yield lambda count: None
        return
    from rich.console import Console

    with progress_bar(Console(stderr=True), description, total, done) as advance:
        yield advance


@contextlib.contextmanager
def progress_bar(
    console: Any, description: str, total: int, done: int
) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a Rich console."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:,.1f}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(description, total=total, completed=done)
        yield lambda count: bars.update(task, advance=count)
