"""Stands in for a pool of processes where a test measures nothing that needs one of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class ThisProcess(Executor):
    """Makes each call at once, here."""

    def submit(self, call: Callable, /, *arguments: Any) -> Future:  # type: ignore[override]
        future: Future = Future()
        future.set_result(call(*arguments))
        return future
