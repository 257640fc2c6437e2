"""Calls in worker processes that survive what a call may do: hang, crash, eat memory.

A video decoder is a large piece of C that is fed files from anywhere. A call that outlives its time
is ended with its worker, a worker that dies takes nothing down but its own call, and workers are
replaced after so many calls, so that what leaks in one does not grow without end.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeout
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from vclip_cli.errors import VclipError

CALLS_A_WORKER = 2000
AHEAD = 4
"""Calls a worker that may wait or be finished before their turn."""
STARTS = 3
"""How often a pool is started again after its workers died outside any call."""

_shared: Any = None


@dataclass(frozen=True)
class Lost:
    """A call that gave nothing, and why."""

    reason: str


def guarded_calls(
    function: Callable[[Any, Any], Any],
    shared: Any,
    keys: Sequence[Any],
    *,
    workers: int,
    seconds: float | None = None,
) -> Iterator[Any]:
    """`function(shared, key)` for every key, in order; `Lost` for a call that hung or crashed.

    function: importable by name; shared: sent to each worker once; seconds: the time of one call.
    With no workers the calls are made here, where nothing guards them. Exceptions of `function`
    are raised here, in turn. Raises VclipError when workers cannot be started.
    """
    if workers == 0:
        for key in keys:
            yield function(shared, key)
        return
    done, starts = 0, 0
    while done < len(keys):
        try:
            for result in _pooled(function, shared, keys[done:], workers, seconds):
                yield result
                done += 1
        except BrokenProcessPool as error:
            starts += 1
            if starts > STARTS:
                raise VclipError(
                    "the worker processes die before they do anything",
                    found=str(error),
                    hint="--workers 0 reads in this process, without their protection",
                ) from None


def _pooled(
    function: Callable[[Any, Any], Any],
    shared: Any,
    keys: Sequence[Any],
    workers: int,
    seconds: float | None,
) -> Iterator[Any]:
    from pebble import ProcessPool

    pool = ProcessPool(
        max_workers=min(workers, len(keys)),
        max_tasks=CALLS_A_WORKER,
        initializer=_keep,
        initargs=(function, shared),
        # forking a process that runs torch's threads may hang
        context=multiprocessing.get_context("spawn"),
    )
    waiting: deque[Future[Any]] = deque()
    try:
        for key in keys:
            waiting.append(pool.schedule(_call, args=(key,), timeout=seconds))
            if len(waiting) > AHEAD * workers:
                yield _result(waiting.popleft(), seconds)
        while waiting:
            yield _result(waiting.popleft(), seconds)
    finally:
        pool.stop()
        pool.join()


def _result(future: Future[Any], seconds: float | None) -> Any:
    from pebble import ProcessExpired

    try:
        return future.result()
    except CallTimeout:
        return Lost(f"not read within {seconds:g} s")
    except ProcessExpired as error:
        return Lost(f"the reading process died ({_death(error.exitcode)})")


def _death(code: int | None) -> str:
    import signal

    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _keep(function: Callable[[Any, Any], Any], shared: Any) -> None:
    global _shared
    if (torch := sys.modules.get("torch")) is not None:  # there is a worker for every core
        torch.set_num_threads(1)
    _shared = (function, shared)


def _call(key: Any) -> Any:
    function, shared = _shared
    return function(shared, key)
