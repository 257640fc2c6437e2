"""The log of a run: one file of JSON lines in its folder, for whoever asks what happened and when.

It is appended to and never read back by the run itself, so that no result depends on it.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError, VclipError
from vclip_cli.common.files import storage_error
from vclip_cli.engine.runs.environment import library_versions, package_facts
from vclip_cli.engine.runs.shards import Shard

LOG_FILE = "log.jsonl"
SUFFIX = ".jsonl"


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


def log_name(shard: Shard) -> str:
    """What the log of one of several processes in a folder is called."""
    return "log" if shard.is_main else f"log-{shard.index + 1}-of-{shard.count}"


@contextlib.contextmanager
def open_run_log(folder: Path, work: str, name: str = "log", **facts: Any) -> Iterator[RunLog]:
    """Log an attempt at some work: its start, what is noted on the way, and how it ended.

    work: the verb; name: of the file, where several processes work in one folder; facts: what is to
    be done, such as the number of videos. A start without an end was killed. Raises StorageError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = RunLog(folder / f"{name}{SUFFIX}")
    _drop_half_line(log.path)
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
        with contextlib.suppress(VclipError):  # a full disk is what it may be about
            log.note("ended", outcome="failed", error=what)
        raise
    log.note("ended", outcome="finished")


def _drop_half_line(path: Path) -> None:
    """Cut off what a killed attempt had begun to write."""
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            path.write_bytes(content[: content.rfind(b"\n") + 1])
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path) from error


def run_logs_below(folder: Path) -> list[Path]:
    """The logs in a folder and below it, in order."""
    return sorted(folder.rglob(f"log*{SUFFIX}"))


def read_run_log(path: Path) -> list[dict[str, Any]]:
    """All events in order; a last line that was cut off by a kill is left out.

    Raises DataError when there is no log, or when it is none of ours.
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
        except (ValueError, RecursionError):
            event = None
        if _is_event(event):
            events.append(event)
        elif number < len(lines):
            raise DataError("the log is damaged", where=f"{path}:{number}", found=line[:80])
    return events


def _is_event(event: Any) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return False
    try:
        return datetime.fromisoformat(event["time"]).tzinfo is not None
    except (KeyError, TypeError, ValueError):
        return False
