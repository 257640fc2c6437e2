"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from vclip_cli.common.files import storage_error

LOCK_FILE = "lock"
OWNER_FILE = "lock-owner.json"

log = logging.getLogger("vclip")


@contextlib.contextmanager
def folder_lock(folder: Path, what: str) -> Iterator[None]:
    """Lock the folder for this process; while another process has it, say so and wait.

    The operating system releases the lock when the process ends, even when it is killed. A file
    beside the lock says which process has it. what: the work, such as "extracting into". Raises
    StorageError when no lock can be made there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_FILE, timeout=0)
    owner = folder / OWNER_FILE
    try:
        try:
            lock.acquire()
        except Timeout:
            holder = _owner(owner) or "a process that does not say who it is"
            log.warning(f"waiting: {holder} is {what} {folder}")
            lock.acquire(timeout=-1, poll_interval=0.2)
    except (OSError, NotImplementedError) as error:
        problem = error if isinstance(error, OSError) else OSError(str(error))
        raise storage_error(problem, folder / LOCK_FILE) from error
    try:
        started = datetime.now(UTC).isoformat(timespec="seconds")
        facts = {"pid": os.getpid(), "host": platform.node(), "since": started}
        with contextlib.suppress(OSError):  # the work itself will report a full disk
            owner.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str | None:
    """The process that has the lock, if the file beside it says so."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
