"""What `vclip doctor --run DIR` says: how far a run has come, why it stopped, what continues it."""

from __future__ import annotations

import shlex
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError
from vclip_cli.engine.runs.run_log import LOG_FILE, read_run_log, run_logs_below


@dataclass(frozen=True)
class RunDiagnosis:
    """One run folder.

    outcome: `finished`, `interrupted`, `failed`, or `killed` where the log just ends (or is still
    being written); progress: what the last events counted; continues: the command, None when there
    is nothing left to do.
    """

    folder: str
    work: str
    outcome: str
    started: str
    last_event: str
    attempts: int
    progress: dict[str, Any]
    seconds: float
    warnings: list[str]
    error: str | None
    continues: str | None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self)


def diagnose_runs(folder: Path) -> list[RunDiagnosis]:
    """Every run in a folder and below it, by path. Raises DataError when there is none."""
    if not folder.is_dir():
        raise DataError("no such folder", where=str(folder))
    found = run_logs_below(folder)
    if not found:
        raise DataError(
            "no log of a run lies in this folder or below it",
            where=str(folder),
            expected=f"a file {LOG_FILE}, which train, eval, extract and run leave",
        )
    return [diagnose_run(path) for path in found]


def diagnose_run(log: Path) -> RunDiagnosis:
    """Read the log of one run. Raises DataError when it is missing or damaged."""
    events = read_run_log(log)
    starts = [number for number, event in enumerate(events) if event["event"] == "started"]
    if not starts:
        raise DataError("the log has no start", where=str(log))
    start, attempt = events[starts[-1]], events[starts[-1] :]
    end = attempt[-1] if attempt[-1]["event"] == "ended" else {}
    outcome = end.get("outcome", "killed")
    progress: dict[str, Any] = {"of": start["total"]} if "total" in start else {}
    for event in attempt:
        progress |= {key: event[key] for key in ("done", "failed") if key in event}
    command = f"cd {shlex.quote(start['folder'])} && {shlex.join(start['command'])}"
    return RunDiagnosis(
        folder=str(log.parent),
        work=start.get("work", "?"),
        outcome=outcome,
        started=events[0]["time"],
        last_event=attempt[-1]["time"],
        attempts=len(starts),
        progress=progress,
        seconds=round(_seconds_at_work(events), 3),
        warnings=[event["text"] for event in attempt if event["event"] == "warning"],
        error=end.get("error"),
        continues=None if outcome == "finished" else command,
    )


def _seconds_at_work(events: list[dict[str, Any]]) -> float:
    """From the start of each attempt to its last event."""
    seconds, began = 0.0, None
    for number, event in enumerate(events):
        now = datetime.fromisoformat(event["time"])
        if event["event"] == "started" or began is None:
            began = now
        if number + 1 == len(events) or events[number + 1]["event"] == "started":
            seconds += (now - began).total_seconds()
    return seconds
