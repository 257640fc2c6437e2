"""Runs killed at random moments and started again end with the bytes of an undisturbed run.

Slow: `pytest -m slow tests/test_faults.py`. `VCLIP_TEST_KILLS` says how many kills a kind of work
gets; for every day there is a kill or a signal at a moment that is known to be in the middle.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from fault_work import (
    OUT,
    SMALL_WORK,
    at_flush,
    content,
    ended,
    in_own_group,
    prepare,
    printed,
    send,
    send_to_all,
    start,
)

from vclip_cli.engine.runs.run_log import diagnose_runs

KILLS = int(os.environ.get("VCLIP_TEST_KILLS", "20"))
SOME_STEPS = ("--set", "steps=20", "--set", "batch_size=4")
WORK = {
    "eval": (
        *("eval", "-d", "toy", "--split", "test", "--batch-size", "16", "--no-cache"),
        *("--out", OUT),
    ),
    "train": (
        *("train", "-p", "few-shot", "-d", "toy", "-m", "vita-clip", "--seed", "1", "--shots", "2"),
        *(*SOME_STEPS, "--batch-size", "4", "--save-every", "3", "--out", OUT),
    ),
    "extract": ("extract", "toy", "--frames", "4", "--limit", "200", "--out", OUT),
    "run": (
        *("run", "-p", "few-shot", "-d", "toy", "--methods", "clip,vita-clip", "--seeds", "1"),
        *("--shots", "2", "--limit", "64", *SOME_STEPS, "--batch-size", "8", "--no-cache"),
        *("--out", OUT),
    ),
    "convert": SMALL_WORK["convert"],
}


@pytest.mark.slow
@pytest.mark.parametrize("work", WORK)
def test_killed_at_random_moments(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fourth kill hits a run that reads in a process of its own."""
    prepare(tmp_path, monkeypatch)
    whole = tmp_path / "whole"
    assert ended(start(WORK[work], tmp_path / "first")) == 0  # renders the clips
    clock = time.monotonic()
    assert ended(start(WORK[work], whole)) == 0
    seconds = time.monotonic() - clock
    wanted = content(whole)
    assert len(wanted) > 1
    draw = random.Random(work)
    killed = 0
    for attempt in range(3 * KILLS):
        if killed == KILLS:
            break
        out = tmp_path / f"run{attempt}"
        workers = {"VCLIP_WORKERS": "1" if attempt % 4 == 3 else "0"}
        child = start(WORK[work], out, environment=workers)
        time.sleep(draw.uniform(0, seconds))
        child.kill()
        if ended(child) != -signal.SIGKILL:
            continue  # it had ended before
        killed += 1
        assert ended(start(WORK[work], out)) == 0, printed(out)
        assert content(out) == wanted, f"kill {killed} left another result"
        shutil.rmtree(out)
    assert killed == KILLS


SIGNALS = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
SAID = {signal.SIGKILL: "killed", signal.SIGTERM: "interrupted", signal.SIGINT: "interrupted"}
"""By `vclip doctor --run`."""
WITHOUT_LOG = ("convert", "embed")


def _disturbed_at_flushes(work: str, numbers: range, signals: list[int], folder: Path) -> int:
    """Disturb at each of these flushes of a file to disk; gives how many there were."""
    arguments = SMALL_WORK[work]
    assert ended(start(arguments, folder / "whole")) == 0, printed(folder / "whole")
    wanted = content(folder / "whole")
    disturbed = 0
    for number in numbers:
        for code in signals:
            out = folder / f"{number}-{code}"
            end = ended(start(arguments, out, disturb=at_flush(number, send(code))))
            if end == 0:  # there are no more
                return disturbed
            assert end == SIGNALS[signal.Signals(code)], printed(out)
            assert "Traceback" not in printed(out)
            disturbed += 1
            if work not in WITHOUT_LOG:
                outcomes = {run.outcome for run in diagnose_runs(out) if run.continues}
                assert SAID[signal.Signals(code)] in outcomes
            assert ended(start(arguments, out)) == 0, printed(out)
            assert content(out) == wanted, f"flush {number}, signal {code}: another result"
    return disturbed


@pytest.mark.slow
@pytest.mark.parametrize("work", SMALL_WORK)
def test_disturbed_whenever_a_file_is_written(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    count = _disturbed_at_flushes(work, range(1, 1000), list(SIGNALS), tmp_path)
    print(f"{work}: {count} disturbances")
    assert count >= 2 * len(SIGNALS)


@pytest.mark.parametrize(
    ("work", "number", "code"),
    [
        ("convert", 1, signal.SIGKILL),
        ("convert", 2, signal.SIGTERM),
        ("run", 6, signal.SIGKILL),
        ("extract", 2, signal.SIGTERM),
        ("embed", 2, signal.SIGINT),
    ],
)
def test_disturbed_once(
    work: str, number: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    assert _disturbed_at_flushes(work, range(number, number + 1), [code], tmp_path) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("work", "number"), [("train", 5), ("train", 7), ("eval", 2), ("run", 6)])
def test_ended_with_all_its_processes(
    work: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a scheduler does it: the reading processes get the signal as well."""
    prepare(tmp_path, monkeypatch)
    arguments, out = SMALL_WORK[work], tmp_path / "out"
    assert ended(start(arguments, tmp_path / "whole")) == 0, printed(tmp_path / "whole")
    disturb = in_own_group(at_flush(number, partial(send_to_all, signal.SIGTERM)))
    workers = {"VCLIP_WORKERS": "2"}
    end = ended(start(arguments, out, disturb=disturb, environment=workers))
    assert end == 143 and "Traceback" not in printed(out), printed(out)
    assert ended(start(arguments, out, environment=workers)) == 0, printed(out)
    assert content(out) == content(tmp_path / "whole")
