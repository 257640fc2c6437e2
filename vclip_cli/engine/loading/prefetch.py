"""The next batches made ready in a thread of their own, while a GPU works on the present one."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
DEPTH = 2
"""Batches that may wait: what more of them would hold is memory alone."""
_SECONDS_TO_STOP = 5.0
_END = object()


def prefetched(items: Iterator[Item], depth: int = DEPTH) -> Iterator[Item]:
    """The same items in the same order, each made while those before it are used.

    An exception of `items` is raised in its turn. When the caller leaves early, `items` is closed.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    left = threading.Event()

    def put(entry: tuple[Any, BaseException | None]) -> bool:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(entry, timeout=0.1)
                return True
        return False

    def fill() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((_END, None))
        except BaseException as error:  # whatever it is, it belongs to the caller
            put((_END, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=fill, name="vclip-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        left.set()
        thread.join(_SECONDS_TO_STOP)
