"""Runs killed at random moments and started again end with the bytes of an undisturbed run.

Slow: `pytest -m slow tests/test_faults.py`. `VCLIP_TEST_KILLS` says how many kills a kind of work
gets; the tests of each kind of work hold a kill or two of their own for every day.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from vclip_cli.__main__ import run
from vclip_cli.results.record import RECORD_FILE, read_record, record_fingerprint

KILLS = int(os.environ.get("VCLIP_TEST_KILLS", "20"))
WORK = {
    "eval": ["eval", "-d", "toy", "--split", "test", "--batch-size", "16", "--no-cache"],
    "train": [
        "train", "-p", "few-shot", "-d", "toy", "-m", "vita-clip", "--seed", "1", "--shots", "2",
        "--set", "steps=20", "--set", "batch_size=4", "--batch-size", "4", "--save-every", "3",
    ],
    "extract": ["extract", "toy", "--frames", "4", "--limit", "200"],
}  # fmt: skip
MADE_ANEW = {"log.jsonl", "run.json", "lock", "lock-owner.json"}
"""Times and owners stand in these: no part of a result."""


def _start(arguments: list[str], out: Path) -> int:
    """The command in a child that has everything imported already, so that kills hit the work."""
    child = os.fork()
    if child:
        return child
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os._exit(run([*arguments, "--out", str(out)]))


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _content(folder: Path) -> dict[str, object]:
    """Every file's bytes; of records everything but the times and the command line."""
    content: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == RECORD_FILE:
            record = read_record(path)
            content[name] = record_fingerprint(record.model_copy(update={"command": []}))
        elif path.is_file() and path.name not in MADE_ANEW and "tensorboard" not in path.parts:
            content[name] = path.read_bytes()
    return content


@pytest.mark.slow
@pytest.mark.parametrize("work", WORK)
def test_killed_at_random_moments(work: str, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    assert _ended(_start(WORK[work], tmp_path / "first")) == 0  # renders the clips
    clock = time.monotonic()
    assert _ended(_start(WORK[work], whole)) == 0
    seconds = time.monotonic() - clock
    wanted = _content(whole)
    assert len(wanted) > 1
    draw = random.Random(work)
    killed = 0
    for attempt in range(3 * KILLS):
        if killed == KILLS:
            break
        out = tmp_path / f"run{attempt}"
        child = _start(WORK[work], out)
        time.sleep(draw.uniform(0, seconds))
        os.kill(child, signal.SIGKILL)
        if _ended(child) != -signal.SIGKILL:
            continue  # it had ended before
        killed += 1
        assert _ended(_start(WORK[work], out)) == 0
        assert _content(out) == wanted, f"kill {killed} left another result"
        shutil.rmtree(out)
    assert killed == KILLS
