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
    """Hold the folder; where another process holds it, say so and wait until it is done.

    The operating system holds the lock and lets go of it when the process ends, however it ends: a
    killed one leaves nothing to clear away. Beside it lies who holds it, for the message. what:
    such as "extracting into". Raises StorageError when no lock can be made there.
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
        with contextlib.suppress(OSError):  # a full disk is told by what needs the space
            owner.write_text(json.dumps(facts) + "\n", encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str | None:
    """Who holds the lock, as far as the file beside it says."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return f"process {facts['pid']} on {facts['host']}, since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return None
