"""Ctrl-C that is not lost.

The interruption may strike inside a callback of a compiled library, which prints or drops it. It is
therefore remembered as well, and raised again at the next step of whatever is under way.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType


class _Memory:
    struck = False


def _strike(number: int, frame: FrameType | None) -> None:
    _Memory.struck = True
    raise KeyboardInterrupt


def remember_interruptions() -> None:
    """Take over SIGINT, in the main thread of a program of its own."""
    _Memory.struck = False
    handled_by_python = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if handled_by_python and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _strike)


def heeding(advance: Callable[[int], None]) -> Callable[[int], None]:
    """A step of progress that first raises KeyboardInterrupt again, if one was dropped."""

    def step(count: int) -> None:
        if _Memory.struck:
            raise KeyboardInterrupt
        advance(count)

    return step
