"""The log of a run: a JSON-lines file in its folder, and the diagnosis from it.

A run only appends to its log and never reads it, so no result depends on it.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError, VclipError
from vclip_cli.common.files import storage_error
from vclip_cli.engine.runs.diagnosis import library_versions, package_facts
from vclip_cli.engine.runs.shards import Shard

LOG_FILE = "log.jsonl"

_command: ContextVar[tuple[str, ...]] = ContextVar("command", default=())


def command_line() -> tuple[str, ...]:
    """The command that this process carries out; empty where the library was called."""
    return _command.get()


@contextlib.contextmanager
def carrying_out(arguments: Sequence[str]) -> Iterator[None]:
    """Logs and records name this command while the context lasts."""
    token = _command.set(("vclip", *arguments))
    try:
        yield
    finally:
        _command.reset(token)


@dataclass(frozen=True)
class RunLog:
    """The open log of one attempt at a run."""

    path: Path

    def note(self, event: str, **facts: Any) -> None:
        """Append one event with its time. Raises StorageError."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event}
        text = json.dumps({**line, **facts}, ensure_ascii=False)
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(text + "\n")
        except OSError as error:
            raise storage_error(error, self.path) from error


@contextlib.contextmanager
def open_run_log(
    folder: Path, work: str, shard: Shard | None = None, **facts: Any
) -> Iterator[RunLog]:
    """Log an attempt at some work: its start, what is noted on the way, and how it ended.

    work: the verb; shard: this process's, if several share the folder; facts: such as the number of
    videos. A log with a start and no end means that the run was killed. Raises StorageError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = RunLog(folder / (LOG_FILE if shard is None or shard.is_main else f"log-{shard}.jsonl"))
    try:
        with contextlib.suppress(FileNotFoundError):
            content = log.path.read_bytes()
            if not content.endswith(b"\n"):  # what a killed attempt had begun to write
                log.path.write_bytes(content[: content.rfind(b"\n") + 1])
    except OSError as error:
        raise storage_error(error, log.path) from error
    log.note(
        "started",
        work=work,
        command=list(command_line()),
        folder=str(Path.cwd()),
        package=package_facts(),
        libraries=library_versions(),
        **facts,
    )
    try:
        yield log
    except KeyboardInterrupt:
        log.note("ended", outcome="interrupted")
        raise
    except BaseException as error:
        what = error.what if isinstance(error, VclipError) else f"{type(error).__name__}: {error}"
        with contextlib.suppress(VclipError):  # the disk may be full
            log.note("ended", outcome="failed", error=what)
        raise
    log.note("ended", outcome="finished")


def read_run_log(path: Path) -> list[dict[str, Any]]:
    """All events in order; a last line that was cut off by a kill is left out.

    Raises DataError when there is no log, or when the file is no log.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise DataError(
            "the log of a run cannot be read",
            where=str(path),
            found=error.strerror,
            hint="give the folder that --out named, or that the command printed",
        ) from None
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            timed = datetime.fromisoformat(event["time"]).tzinfo is not None
            if not timed or not isinstance(event["event"], str):
                raise ValueError("not an event")
            events.append(event)
        except (ValueError, LookupError, TypeError, RecursionError):
            if number < len(lines):  # the last line may be cut off
                where = f"{path}:{number}"
                raise DataError("the log is damaged", where=where, found=line[:80]) from None
    return events


# What `vclip doctor --run` says -------------------------------------------------------------------


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


def diagnose_runs(folder: Path) -> list[RunDiagnosis]:
    """Every run in a folder and below it, by path. Raises DataError when there is none."""
    if not folder.is_dir():
        raise DataError("no such folder", where=str(folder))
    found = sorted(folder.rglob("log*.jsonl"))
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
