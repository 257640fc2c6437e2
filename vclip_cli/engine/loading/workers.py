"""Calls in worker processes that survive what a call may do: hang, crash, eat memory.

A video decoder is a large piece of C that is fed files from anywhere. A call that outlives its time
or outgrows its memory is ended with its worker, a worker that dies takes nothing down but its own
call, and workers are replaced after so many calls, so that what leaks in one does not grow without
end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as CallTimeout
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import resource_tracker
from typing import Any

from vclip_cli.common.errors import VclipError
from vclip_cli.engine.loading.memory import most_held, now_held
from vclip_cli.engine.specs import WorkerSpec

CALLS_A_WORKER = 2000
AHEAD = 4
"""Calls a worker that may wait or be finished before their turn."""
STARTS = 3
"""How often a pool is started again, without a result between, after workers died outside calls."""
SECONDS_TO_STALL = 120
"""Beyond the time of a call: then a worker died while it answered, and the others wait for it."""
SECONDS_TO_END = 0.5
"""For a worker to end by itself before it is made to."""
TOO_LARGE = 86
"""The exit code of a worker that outgrew its memory."""
SECONDS_BETWEEN_LOOKS = 0.02

_shared: Any = None
_most: int | None = None
_calling, _turn = threading.Event(), threading.Lock()


@dataclass(frozen=True)
class Lost:
    """A call that gave nothing, and why."""

    reason: str


def guarded_calls(
    function: Callable[[Any, Any], Any], shared: Any, keys: Sequence[Any], guard: WorkerSpec
) -> Iterator[Any]:
    """`function(shared, key)` for every key, in order; `Lost` for one that died or was ended.

    function: importable by name; shared: sent to each worker once. With no workers the calls are
    made here, where nothing guards them. Exceptions of `function` are raised here, in turn. Raises
    VclipError when workers cannot be started.
    """
    if guard.workers == 0:
        for key in keys:
            yield _made(function, shared, key)
        return
    done, starts = 0, 0
    while done < len(keys):
        try:
            for result in _pooled(function, shared, keys[done:], guard):
                yield result
                done, starts = done + 1, 0
        except BrokenProcessPool as error:
            starts += 1
            if starts > STARTS:
                raise VclipError(
                    "the worker processes die before they do anything",
                    found=str(error),
                    hint="--workers 0 reads in this process, without their protection",
                ) from None


def _pooled(
    function: Callable[[Any, Any], Any], shared: Any, keys: Sequence[Any], guard: WorkerSpec
) -> Iterator[Any]:
    from pebble import CONSTS, ProcessPool

    CONSTS.term_timeout = SECONDS_TO_END
    workers = guard.workers_for(len(keys))
    pool = ProcessPool(
        max_workers=workers,
        max_tasks=CALLS_A_WORKER,
        initializer=_keep,
        initargs=(function, shared, guard.limit_memory),
        # forking a process that runs torch's threads may hang
        context=multiprocessing.get_context("spawn"),
    )
    waiting: deque[Future[Any]] = deque()
    try:
        with _ctrl_c_for_us_alone():
            if not pool.active:  # asked so, it starts its threads and workers
                raise BrokenProcessPool("the pool does not start")
        for key in keys:
            waiting.append(pool.schedule(_call, args=(key,), timeout=guard.video_timeout))
            if len(waiting) > AHEAD * workers:
                yield _result(waiting.popleft(), guard)
        while waiting:
            yield _result(waiting.popleft(), guard)
    finally:
        pool.stop()
        pool.join()


@contextlib.contextmanager
def _ctrl_c_for_us_alone() -> Iterator[None]:
    """Threads and processes that are started here are deaf to Ctrl-C from their first moment on.

    A terminal sends it to all of them, and one that is just starting would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whose start ends the deafness
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _result(future: Future[Any], guard: WorkerSpec) -> Any:
    from pebble import ProcessExpired

    try:
        return future.result(
            None if guard.video_timeout is None else guard.video_timeout + SECONDS_TO_STALL
        )
    except CallTimeout:
        if not future.done():
            raise BrokenProcessPool("the workers do not answer") from None
        return Lost(f"not read within {guard.video_timeout:g} s")
    except ProcessExpired as error:
        if error.exitcode == TOO_LARGE and guard.limit_memory is not None:
            return Lost(f"reading it needs more than {guard.limit_memory:,} MB")
        return Lost(f"the reading process died ({_death(error.exitcode)})")


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _keep(function: Callable[[Any, Any], Any], shared: Any, limit_memory: int | None) -> None:
    global _shared, _most
    # a scheduler sends it to all processes of a run: the first one decides, and ends the others
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (torch := sys.modules.get("torch")) is not None:  # there is a worker for every core
        torch.set_num_threads(1)
    _shared = (function, shared)
    if limit_memory is not None:
        _most = most_held() + limit_memory * 1_000_000
        threading.Thread(target=_end_when_too_large, args=(_most,), daemon=True).start()


def _end_when_too_large(most: int) -> None:
    while True:
        _calling.wait()
        with _turn:  # never while it answers: the others would wait for the rest of the answer
            if _calling.is_set() and now_held() > most:
                os._exit(TOO_LARGE)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _made(function: Callable[[Any, Any], Any], shared: Any, key: Any) -> Any:
    try:
        return function(shared, key)
    except MemoryError:
        return Lost("reading it needs more memory than there is")


def _call(key: Any) -> Any:
    function, shared = _shared
    _calling.set()
    try:
        result = _made(function, shared, key)
    finally:
        with _turn:
            _calling.clear()
    if _most is not None and most_held() > _most:  # between two looks
        os._exit(TOO_LARGE)
    return result
