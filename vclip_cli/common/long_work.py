"""What long work needs: progress, and an end on Ctrl-C or SIGTERM that keeps what was done."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import FrameType
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
    from rich import progress as bars
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
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
    with bars.Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(description, total=total, completed=done)
        yield lambda count: shown.update(task, advance=count)


INTERRUPTED = 130
TERMINATED = 143


@dataclass
class _Seen:
    code: int = INTERRUPTED


_seen = _Seen()


def exit_code() -> int:
    """143 after a SIGTERM, else 130."""
    return _seen.code


def heed_termination() -> None:
    """From here on a SIGTERM ends the work as Ctrl-C does, but for the exit code."""
    signal.signal(signal.SIGTERM, _raise)


def _raise(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGTERM:
        _seen.code = TERMINATED
    raise KeyboardInterrupt


@dataclass
class Pending:
    """Whether an interruption has come that waits to be heeded."""

    requested: bool = False

    def heed(self) -> None:
        """Raises KeyboardInterrupt when one has come."""
        if self.requested:
            raise KeyboardInterrupt


@contextlib.contextmanager
def put_off() -> Iterator[Pending]:
    """Note the first Ctrl-C or SIGTERM instead of raising it; a second one is raised at once.

    Outside the main thread, which alone receives signals, nothing is put off. Raises
    KeyboardInterrupt at the end when one has come and nobody has heeded it.
    """
    pending = Pending()
    if threading.current_thread() is not threading.main_thread():
        yield pending
        return

    def note(number: int, frame: FrameType | None) -> None:
        if pending.requested:
            _raise(number, frame)
        if number == signal.SIGTERM:
            _seen.code = TERMINATED
        pending.requested = True

    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, note)
    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    pending.heed()
