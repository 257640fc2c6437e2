"""Calls in worker processes: order, crashes, hangs, exceptions, and a parent that dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vclip_cli.engine import guarded
from vclip_cli.engine.guarded import Lost, guarded_calls
from vclip_cli.errors import DataError


def behave(shared, key):
    if key == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if key == "leave":
        os._exit(7)
    if key == "hang":
        time.sleep(600)
    if key == "error":
        raise DataError("as asked")
    return shared, key


def test_results_come_in_order_and_what_dies_or_hangs_is_lost():
    keys = [0, "crash", 1, "hang", 2, "leave", *range(3, 12)]
    found = list(guarded_calls(behave, "s", keys, workers=2, seconds=1.5))
    lost = {k: value.reason for k, value in zip(keys, found, strict=True) if type(value) is Lost}
    assert lost == {
        "crash": "the reading process died (SIGSEGV)",
        "hang": "not read within 1.5 s",
        "leave": "the reading process died (exit code 7)",
    }
    assert [value for value in found if type(value) is not Lost] == [("s", n) for n in range(12)]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_exception_is_raised_in_turn(workers):
    calls = guarded_calls(behave, "s", [1, "error", 2], workers=workers)
    assert next(calls) == ("s", 1)
    with pytest.raises(DataError, match="as asked"):
        next(calls)


def test_workers_are_replaced_after_their_calls(monkeypatch):
    monkeypatch.setattr(guarded, "CALLS_A_WORKER", 2)
    pids = list(guarded_calls(process_id, None, range(5), workers=1))
    assert len(set(pids)) == 3 and os.getpid() not in pids


def process_id(shared, key):
    return os.getpid()


def test_no_worker_outlives_a_killed_parent(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_engine_guarded import process_id\n"
        "from vclip_cli.engine.guarded import guarded_calls\n"
        "if __name__ == '__main__':\n"
        "    calls = guarded_calls(process_id, None, range(100000), workers=2)\n"
        "    print(next(calls), flush=True)\n"
        "    [None for _ in calls]\n"
    )
    path = tmp_path / "run.py"
    path.write_text(script)
    command = [sys.executable, path, Path(__file__).parent]
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
