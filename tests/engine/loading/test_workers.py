"""Calls in worker processes: order, crashes, hangs, memory, exceptions, and a parent that dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import worker_calls
from worker_calls import answer_by_halves, behave, process_id

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.engine import specs
from vclip_cli.engine.loading import workers
from vclip_cli.engine.loading.workers import FailedCall, call_in_workers
from vclip_cli.engine.specs import WorkerSpec, memory_is_known


def test_results_come_in_order_and_what_dies_or_hangs_is_lost():
    keys = [0, "crash", 1, "hang", 2, "leave", *range(3, 12)]
    found = list(call_in_workers(behave, "s", keys, WorkerSpec(2, 1.5)))
    failed = {
        k: value.reason for k, value in zip(keys, found, strict=True) if type(value) is FailedCall
    }
    assert failed == {
        "crash": "the reading process died (SIGSEGV)",
        "hang": "not read within 1.5 s",
        "leave": "the reading process died (exit code 7)",
    }
    assert [value for value in found if type(value) is not FailedCall] == [
        ("s", n) for n in range(12)
    ]


def test_no_call_is_lost_because_a_scheduler_ends_all_processes():
    keys = [1, "terminated", 2]
    assert list(call_in_workers(behave, "s", keys, WorkerSpec(1))) == [("s", key) for key in keys]


def test_workers_that_do_not_answer_are_replaced(monkeypatch, tmp_path):
    """One that is killed while it answers leaves half an answer, and the others waiting."""
    monkeypatch.setattr(workers, "SECONDS_TO_STALL", 3)
    first = tmp_path / "first"
    found = list(call_in_workers(answer_by_halves, first, range(3), WorkerSpec(1, 2)))
    assert found == [b"x" * 1_000_000] * 3 and first.exists()


needs_linux = pytest.mark.skipif(not memory_is_known(), reason="nothing tells what is held")


@needs_linux
def test_a_call_that_grows_too_large_is_lost_and_no_other():
    found = list(call_in_workers(behave, "s", [1, "grow", 2], WorkerSpec(1, None, 200)))
    assert found == [("s", 1), FailedCall("reading it needs more than 200 MB"), ("s", 2)]


@needs_linux
def test_a_call_that_grew_too_large_between_two_looks_is_lost():
    found = list(call_in_workers(behave, "s", [1, "grow for a moment", 2], WorkerSpec(1, None, 64)))
    assert found == [("s", 1), FailedCall("reading it needs more than 64 MB"), ("s", 2)]


def test_a_bound_on_memory_that_nothing_keeps_is_refused(monkeypatch):
    with pytest.raises(UsageError, match="--workers 0"):
        WorkerSpec(0, None, 600)
    monkeypatch.setattr(specs, "memory_is_known", lambda: False)
    with pytest.raises(UsageError, match="Linux"):
        WorkerSpec(2, None, 600)


def test_the_number_of_workers_suits_the_machine_and_the_work(monkeypatch):
    cores = set(range(16))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores, raising=False)
    assert WorkerSpec(None).most_workers == 8
    assert WorkerSpec(20).most_workers == 20 and WorkerSpec(0).most_workers == 0
    for processes, suits in (("4", 3), ("16", 1), ("64", 1), ("0", 8), ("x", 8)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert WorkerSpec(None).most_workers == suits
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    assert [WorkerSpec(None).workers_for(calls) for calls in (0, 1, 8, 9, 24, 1000)] == [
        0,
        1,
        1,
        2,
        3,
        8,
    ]
    assert [WorkerSpec(4).workers_for(calls) for calls in (0, 1, 3, 9)] == [0, 1, 3, 4]
    cores = {1}
    assert WorkerSpec(None).most_workers == 1


@pytest.mark.parametrize("processes", [0, 1])
def test_an_exception_is_raised_in_turn(processes):
    calls = call_in_workers(behave, "s", [1, "no memory", "error", 2], WorkerSpec(processes))
    assert next(calls) == ("s", 1)
    assert next(calls) == FailedCall("reading it needs more memory than there is")
    with pytest.raises(DataError, match="as asked"):
        next(calls)


def test_workers_are_replaced_after_their_calls(monkeypatch):
    monkeypatch.setattr(workers, "CALLS_A_WORKER", 2)
    pids = list(call_in_workers(process_id, None, range(5), WorkerSpec(1)))
    assert len(set(pids)) == 3 and os.getpid() not in pids


@pytest.fixture
def script(tmp_path) -> Callable[[str], list]:
    """Writes a script, and gives the command that runs it."""

    def write(text: str) -> list:
        path = tmp_path / "script.py"
        path.write_text(text)
        return [sys.executable, path, Path(worker_calls.__file__).parent]

    return write


def test_a_script_without_a_main_guard_is_run_once(script):
    """Spawned processes import the caller's script again, unless they are told nothing of it."""
    command = script(
        "import os, sys\n"
        "print('top level', flush=True)\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from worker_calls import process_id\n"
        "from vclip_cli.engine.loading import workers\n"
        "from vclip_cli.engine.specs import WorkerSpec\n"
        "workers.CALLS_A_WORKER = 2\n"
        "found = list(workers.call_in_workers(process_id, None, range(5), WorkerSpec(1)))\n"
        "assert os.getpid() not in found and len(set(found)) == 3, found\n"
        "print('done', flush=True)\n"
    )
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and not ran.stderr, ran.stderr
    assert ran.stdout.split("\n") == ["top level", "done", ""]


def test_other_processes_of_the_caller_still_import_its_script(script):
    command = script(
        "import multiprocessing, sys\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    sys.path.insert(0, sys.argv[1])\n"
        "    from worker_calls import process_id\n"
        "    from vclip_cli.engine.loading.workers import call_in_workers\n"
        "    from vclip_cli.engine.specs import WorkerSpec\n"
        "    calls = call_in_workers(process_id, None, range(6), WorkerSpec(1))\n"
        "    next(calls)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        assert pool.map(double, [1, 2]) == [2, 4]\n"
        "    assert len(list(calls)) == 5\n"
    )
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


def test_no_worker_outlives_a_killed_parent(script):
    command = script(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from worker_calls import process_id\n"
        "from vclip_cli.engine.loading.workers import call_in_workers\n"
        "from vclip_cli.engine.specs import WorkerSpec\n"
        "if __name__ == '__main__':\n"
        "    calls = call_in_workers(process_id, None, range(100000), WorkerSpec(2))\n"
        "    print(next(calls), flush=True)\n"
        "    [None for _ in calls]\n"
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().split(") ")[1][0] == "Z":
            return
        time.sleep(0.2)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError("the worker went on without its parent")
