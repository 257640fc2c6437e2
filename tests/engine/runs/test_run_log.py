"""The log of a run, and what `vclip doctor --run` makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vclip_cli.common.errors import DataError
from vclip_cli.engine.runs.run_log import (
    LOG_FILE,
    diagnose_run,
    diagnose_runs,
    open_run_log,
    read_run_log,
)


def test_a_finished_attempt_names_versions_and_times(tmp_path: Path) -> None:
    with open_run_log(tmp_path, "eval", total=8) as log:
        log.note("part", done=4, seconds=1.5)
        log.note("warning", text="one clip is damaged")
        log.note("part", done=8, failed=1, seconds=1.0)
    start, *_, end = read_run_log(tmp_path / LOG_FILE)
    assert start["libraries"]["torch"] and start["package"]["version"]
    assert end["outcome"] == "finished"
    found = diagnose_run(tmp_path / LOG_FILE)
    assert (found.outcome, found.continues) == ("finished", None)
    assert found.progress == {"of": 8, "done": 8, "failed": 1}
    assert found.warnings == ["one clip is damaged"]


@pytest.mark.parametrize(
    ("error", "outcome", "text"),
    [(KeyboardInterrupt(), "interrupted", None), (DataError("gone"), "failed", "gone")],
)
def test_an_attempt_that_broke_off_says_why(
    tmp_path: Path, error: BaseException, outcome: str, text: str | None
) -> None:
    with pytest.raises(type(error)), open_run_log(tmp_path, "train", total=20) as log:
        log.note("saved", done=10)
        raise error
    found = diagnose_run(tmp_path / LOG_FILE)
    assert (found.outcome, found.error) == (outcome, text)
    assert found.continues and str(Path.cwd()) in found.continues


def test_a_kill_leaves_no_end_and_perhaps_half_a_line(tmp_path: Path) -> None:
    with open_run_log(tmp_path, "eval", total=8) as log:
        log.note("part", done=4)
    path = tmp_path / LOG_FILE
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]) + lines[2][:20])
    assert diagnose_run(tmp_path / LOG_FILE).outcome == "killed"
    with open_run_log(tmp_path, "eval", total=8):
        assert [event["event"] for event in read_run_log(tmp_path / LOG_FILE)] == [
            "started",
            "part",
            "started",
        ]
    assert diagnose_run(tmp_path / LOG_FILE).attempts == 2
    path.write_bytes(b"".join(lines[:2]))
    with open_run_log(tmp_path / "other", "eval"):
        pass
    assert [entry.outcome for entry in diagnose_runs(tmp_path)] == ["killed", "finished"]


def test_the_time_at_work_is_that_of_all_attempts(tmp_path: Path) -> None:
    events = [
        ("09:00:00.000", "started"), ("09:00:07.500", "ended"),
        ("10:00:00.000", "started"), ("10:00:02.000", "part"),
    ]  # fmt: skip
    lines = [
        {"time": f"2026-01-01T{time}+00:00", "event": event, "command": [], "folder": "."}
        for time, event in events
    ]
    path = tmp_path / LOG_FILE
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert diagnose_run(path).seconds == 9.5


def test_damage_in_the_middle_is_an_error_with_its_line(tmp_path: Path) -> None:
    whole = '{"event": "started", "time": "2026-01-01T09:00:00+00:00"}'
    (tmp_path / LOG_FILE).write_text(f"{whole}\nnonsense\n{whole}\n")
    with pytest.raises(DataError) as caught:
        read_run_log(tmp_path / LOG_FILE)
    assert f"{LOG_FILE}:2" in str(caught.value.where)


def test_doctor_explains_runs_and_refuses_a_folder_without_any(
    vclip: Callable, tmp_path: Path
) -> None:
    assert vclip("doctor", "--run", tmp_path).code == 4
    missing = vclip("doctor", "--run", tmp_path / "nowhere")
    assert missing.code == 4 and "no such folder" in missing.err
    with pytest.raises(KeyboardInterrupt), open_run_log(tmp_path, "eval", total=8):
        raise KeyboardInterrupt
    shown = vclip("doctor", "--run", tmp_path)
    assert shown.code == 0
    assert "interrupted" in shown.out and "continue with: cd " in shown.out
    [run] = json.loads(vclip("doctor", "--run", tmp_path, "--json").out)["runs"]
    assert run["outcome"] == "interrupted"
