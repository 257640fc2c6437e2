"""Calls in worker processes: a call that crashes, hangs or takes too much memory ends alone.

Video decoders are large C libraries that read files from anywhere. A call that takes too long or
too much memory is ended together with its worker. A worker that dies costs the call that it was
making. Workers are replaced after a number of calls, so that a memory leak stays small.
"""

from __future__ import annotations

import contextlib
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
from multiprocessing import resource_tracker, spawn
from multiprocessing.context import SpawnContext, SpawnProcess
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import VclipError
from vclip_cli.engine.specs import WorkerSpec

CALLS_A_WORKER = 2000
"""Calls after which a worker is replaced."""
AHEAD = 4
"""Calls per worker that may be queued, or finished but not yet collected."""
STARTS = 3
"""How often a pool is restarted without a result in between."""
SECONDS_TO_STALL = 120
"""Extra wait beyond a call's time limit. After it, a worker must have died while sending its
answer, and the others wait for its lock."""
SECONDS_TO_END = 0.5
"""Seconds that a worker has to end before it is killed."""
TOO_LARGE = 86
"""The exit code of a worker that took too much memory."""
SECONDS_BETWEEN_LOOKS = 0.02

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class FailedCall:
    """A call that gave no result, and why."""

    reason: str


def call_in_workers(
    function: Function, shared: Any, keys: Sequence[Any], spec: WorkerSpec
) -> Iterator[Any]:
    """`function(shared, key)` for every key, in order; `FailedCall` where the worker was lost.

    function: importable by name; shared: sent to each worker once. With no workers the calls are
    made in this process, without protection. An exception of `function` is raised here, in its
    turn. Raises VclipError when workers cannot be started.
    """
    if spec.workers == 0:
        for key in keys:
            yield _result_of(function, shared, key)
        return
    done, starts = 0, 0
    while done < len(keys):
        try:
            for result in _pool_results(function, shared, keys[done:], spec):
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


def _pool_results(
    function: Function, shared: Any, keys: Sequence[Any], spec: WorkerSpec
) -> Iterator[Any]:
    from pebble import CONSTS, ProcessPool

    CONSTS.term_timeout = SECONDS_TO_END
    workers = spec.workers_for(len(keys))
    pool = ProcessPool(
        max_workers=workers,
        max_tasks=CALLS_A_WORKER,
        initializer=_start_worker,
        initargs=(function, shared, spec.limit_memory),
        # Spawned, not forked: forking a process that runs torch's threads may hang.
        context=_WorkerContext(),
    )
    waiting: deque[Future[Any]] = deque()
    try:
        with _sigint_blocked():
            if not pool.active:  # asking starts the pool's threads and workers
                raise BrokenProcessPool("the pool does not start")
        for key in keys:
            waiting.append(pool.schedule(_call, args=(key,), timeout=spec.video_timeout))
            if len(waiting) > AHEAD * workers:
                yield _answer(waiting.popleft(), spec)
        while waiting:
            yield _answer(waiting.popleft(), spec)
    finally:
        pool.stop()
        pool.join()


def _answer(future: Future[Any], spec: WorkerSpec) -> Any:
    from pebble import ProcessExpired

    limit = spec.video_timeout
    try:
        return future.result(None if limit is None else limit + SECONDS_TO_STALL)
    except CallTimeout:
        if not future.done():
            raise BrokenProcessPool("the workers do not answer") from None
        return FailedCall(f"not read within {limit:g} s")
    except ProcessExpired as error:
        if error.exitcode == TOO_LARGE and spec.limit_memory is not None:
            return FailedCall(f"reading it needs more than {spec.limit_memory:,} MB")
        killed = error.exitcode is not None and error.exitcode < 0
        end = signal.Signals(-error.exitcode).name if killed else f"exit code {error.exitcode}"
        return FailedCall(f"the reading process died ({end})")


# How workers start --------------------------------------------------------------------------------


class _WorkerProcess(SpawnProcess):
    """A spawned process that does not import the caller's script.

    Spawn imports `__main__` again in each process, which would run a script that has no
    `if __name__ == "__main__"` once more in every worker. Workers need this package only.
    """

    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _main_left_out():
            return SpawnProcess._Popen(process_obj)


class _WorkerContext(SpawnContext):
    """The context whose processes are `_WorkerProcess`."""

    Process = _WorkerProcess


_starting = threading.Lock()


@contextlib.contextmanager
def _main_left_out() -> Iterator[None]:
    """Processes that this thread spawns in this context do not import `__main__`."""
    thread = threading.get_ident()
    with _starting:
        prepare = spawn.get_preparation_data

        def without_main(name: str) -> dict[str, Any]:
            data = prepare(name)
            if threading.get_ident() != thread:  # another thread's process
                return data
            return {k: v for k, v in data.items() if not k.startswith("init_main_from")}

        spawn.get_preparation_data = without_main
        try:
            yield
        finally:
            spawn.get_preparation_data = prepare


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Threads and processes started in this context never receive SIGINT.

    A terminal sends Ctrl-C to every process of a command, and a worker that is just starting would
    print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What runs in a worker ----------------------------------------------------------------------------


_work: tuple[Function, Any] | None = None
_most_bytes: int | None = None
_calling, _answering = threading.Event(), threading.Lock()


def _start_worker(function: Function, shared: Any, limit_memory: int | None) -> None:
    global _work, _most_bytes
    # A scheduler sends SIGTERM to every process of a run. The main process ends its workers.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if (torch := sys.modules.get("torch")) is not None:  # there is a worker for every core
        torch.set_num_threads(1)
    _work = (function, shared)
    if limit_memory is not None:
        _most_bytes = _memory("VmHWM:") + limit_memory * 1_000_000
        threading.Thread(target=_end_when_too_large, args=(_most_bytes,), daemon=True).start()


def _end_when_too_large(most: int) -> None:
    while True:
        _calling.wait()
        with _answering:  # a worker that ends while it answers would block the others
            if _calling.is_set() and _memory("VmRSS:") > most:
                os._exit(TOO_LARGE)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _call(key: Any) -> Any:
    assert _work is not None  # set when the worker started
    _calling.set()
    try:
        result = _result_of(*_work, key)
    finally:
        with _answering:
            _calling.clear()
    if _most_bytes is not None and _memory("VmHWM:") > _most_bytes:  # between two looks
        os._exit(TOO_LARGE)
    return result


def _result_of(function: Function, shared: Any, key: Any) -> Any:
    try:
        return function(shared, key)
    except MemoryError:
        return FailedCall("reading it needs more memory than there is")


def _memory(name: str) -> int:
    """Bytes that this process holds (VmRSS:) or has held at most (VmHWM:), on Linux."""
    for line in Path("/proc/self/status").read_bytes().splitlines():
        if line.startswith(name.encode()):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {name}")
