"""Work spread over processes, with its results in order. Loads no torch."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_AHEAD = 4
"""Tasks under way or done for each process; it bounds the memory that waiting results take."""


def map_in_order(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    workers: int,
    crashed: Callable[[Task], Result],
) -> Iterator[Result]:
    """`work` on every task, in so many processes beside this one; 0 for this one alone.

    crashed: the result of a task whose process died, twice and alone the second time. What `work`
    raises is raised here.
    """
    if workers <= 0:
        yield from map(work, tasks)
        return
    remaining = iter(tasks)
    waiting: deque[tuple[Task, Future[Result] | None]] = deque()
    pool = _pool(workers)
    try:
        while True:
            for task in remaining:
                waiting.append((task, _submit(pool, work, task)))
                if len(waiting) >= _AHEAD * workers:
                    break
            if not waiting:
                return
            task, future = waiting.popleft()
            try:
                if future is None:
                    raise BrokenProcessPool
                yield future.result()
            except BrokenProcessPool:  # any of those under way may be to blame
                pool.shutdown(wait=False, cancel_futures=True)
                yield _alone(work, task, crashed)
                pool = _pool(workers)
                waiting = deque((task, _submit(pool, work, task)) for task, _ in waiting)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _submit(
    pool: ProcessPoolExecutor, work: Callable[[Task], Result], task: Task
) -> Future[Result] | None:
    try:
        return pool.submit(work, task)
    except BrokenProcessPool:
        return None


def _alone(work: Callable[[Task], Result], task: Task, crashed: Callable[[Task], Result]) -> Result:
    with _pool(1) as pool:
        try:
            return pool.submit(work, task).result()
        except BrokenProcessPool:
            return crashed(task)


def _pool(workers: int) -> ProcessPoolExecutor:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin)


def _begin() -> None:
    """Leave Ctrl-C to the main process, and end with it, also where it was killed."""
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
