"""What long work needs: progress reports, and a clean end on Ctrl-C or SIGTERM.

Both signals raise KeyboardInterrupt at once. Work that must reach a safe point first, such as the
end of a training step, delays them and checks for them there.
"""

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

INTERRUPTED = 130
TERMINATED = 143


class Progress(Protocol):
    """Opens a progress bar; the context gives a function that advances it by a number of items.

    total: how many items there are; done: how many of them an earlier run finished.
    """

    def __call__(
        self, description: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[[int], None]]: ...


@contextlib.contextmanager
def no_progress(description: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A progress that shows nothing."""
    yield lambda count: None


def progress_of(asked: Progress | bool | None) -> Progress:
    """The progress that a library function reports to.

    asked: the caller's own; True for a bar, False for none; None for a bar in a terminal or a
    notebook only.
    """
    if asked is None:
        asked = sys.stderr.isatty() or "ipykernel" in sys.modules
    if isinstance(asked, bool):
        return _bar_on_stderr if asked else no_progress
    return asked


def _bar_on_stderr(
    description: str, total: int, done: int = 0
) -> AbstractContextManager[Callable[[int], None]]:
    from rich.console import Console

    if not total:
        return no_progress(description, total)
    return progress_bar(Console(stderr=True), description, total, done)


@contextlib.contextmanager
def progress_bar(
    console: Any, description: str, total: int, done: int
) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left on a Rich console."""
    from rich import progress as bars
    from rich.text import Text

    class Rate(bars.ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:,.1f}/s" if task.speed else "")

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        Rate(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(description, total=total, completed=done)
        yield lambda count: shown.update(task, advance=count)


@dataclass
class _Seen:
    code: int = INTERRUPTED


_seen = _Seen()


def exit_code() -> int:
    """143 when the last signal was SIGTERM, else 130."""
    return _seen.code


def stop_on_sigterm() -> None:
    """From now on SIGTERM ends the work as Ctrl-C does, with the exit code 143."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _seen.code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
    raise KeyboardInterrupt


@dataclass
class DelayedInterruption:
    """requested: whether a signal has arrived."""

    requested: bool = False


@contextlib.contextmanager
def delay_interruption() -> Iterator[DelayedInterruption]:
    """Note the first Ctrl-C or SIGTERM instead of raising it; a second one raises at once.

    Raises KeyboardInterrupt at the end of the block when a signal has arrived. Outside the main
    thread, which alone receives signals, nothing is delayed.
    """
    delayed = DelayedInterruption()
    if threading.current_thread() is not threading.main_thread():
        yield delayed
        return

    def note(number: int, frame: FrameType | None) -> None:
        if delayed.requested:
            _interrupt(number, frame)
        _seen.code = TERMINATED if number == signal.SIGTERM else INTERRUPTED
        delayed.requested = True

    before: dict[signal.Signals, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, note)
    try:
        yield delayed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if delayed.requested:
        raise KeyboardInterrupt
