"""Files that are written whole or not at all, and the sha256 by which artefacts name each other.

A file is written under a temporary name in the same folder and then renamed. A process that is
killed leaves either the old file or the new one, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import platform
import re
import shutil
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import DataError, StorageError, UsageError, VclipError

if TYPE_CHECKING:
    import numpy as np

LOCK_FILE = "lock"
OWNER_FILE = "lock-owner.json"
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
log = logging.getLogger("vclip")
_OS_ERROR = re.compile(r"\(os error (\d{1,4})\)")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on success it is flushed to disk and renamed to `path`.

    Temporary files that killed processes left of the same file are removed. Raises StorageError
    when the disk is full or the folder cannot be written.
    """
    begin = f".{path.name}.{_machine()}-"
    temporary = path.with_name(f"{begin}{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent, begin)
        try:
            yield temporary
        except Exception as error:  # safetensors raises its own class for a disk's refusal
            if found := _OS_ERROR.search(str(error)):
                raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
            raise
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _machine() -> str:
    """A short name of the machine and its process namespace: process ids are unique within it."""
    space = ""
    with contextlib.suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{zlib.crc32(f'{platform.node()} {space}'.encode()):08x}"


def _remove_leftovers(folder: Path, begin: str) -> None:
    """Remove the temporary files whose processes have ended on this machine."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.name.startswith(begin) and e.name.endswith(".part")]
    for name in names:
        number = name.removeprefix(begin).removesuffix(".part")
        if number.isdecimal() and not _is_running(int(number)):
            (folder / name).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # on Windows os.kill(process, 0) ends the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def storage_error(error: OSError, path: Path) -> StorageError:
    """The clear form of an operating system's error while writing `path`."""
    if error.errno in NO_SPACE:
        return StorageError(
            "no space left to write",
            where=str(path),
            hint="free some space and run the same command again: it goes on from where it was",
        )
    return StorageError(f"cannot write: {error.strerror or error}", where=str(path))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with LF line ends, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON with a final newline, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_note(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file of vclip's own; empty where the file is missing or damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def write_tensors(path: Path, tensors: dict[str, np.ndarray], facts: dict[str, str]) -> None:
    """Write tensors and texts as one .safetensors file, whole or not at all."""
    from safetensors.numpy import save_file

    with whole_file(path) as temporary:
        save_file(tensors, temporary, metadata=facts)


# One process at a time in a folder ---------------------------------------------------------------


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
            found = read_note(owner)
            holder = "a process that does not say who it is"
            if {"pid", "host", "since"} <= found.keys():
                holder = f"process {found['pid']} on {found['host']}, since {found['since']}"
            log.warning(f"waiting: {holder} is {what} {folder}")
            lock.acquire(timeout=-1, poll_interval=0.2)
    except (OSError, NotImplementedError) as error:  # filelock's, on a disk without locks
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


# Names, folders and hashes -----------------------------------------------------------------------


def plain_name(name: str) -> str:
    """`name` itself, if it can name a file or a folder on every system.

    Raises ValueError where it could lead to another folder, is hidden, or has invisible characters.
    """
    bad = not name.isprintable() or any(character in name for character in "/\\:")
    if bad or not name.strip() or name[0] in ". -" or len(name) > 100:
        raise ValueError(
            "a name has at most 100 visible characters, none of / \\ :, and no . or - in front"
        )
    return name


def require_writable_folder(folder: Path, named_by: str = "--out") -> None:
    """Make `folder` and test that a file can be written there, before any work is done.

    named_by: the option or variable that chooses the folder. Raises UsageError otherwise.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".vclip-probe-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        if error.errno in NO_SPACE:
            raise storage_error(error, folder) from error
        raise UsageError(
            f"the folder cannot be written: {error.strerror or error}",
            where=str(folder),
            hint=f"choose another with {named_by}",
        ) from error


def free_bytes(folder: Path) -> int:
    """The free space of the disk on which a folder lies, or would be made."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free


def read_limited(path: Path, limit: int, error: type[VclipError] = DataError) -> bytes:
    """The bytes of a file. Raises `error` when it cannot be read or has more than `limit` bytes."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror}", where=str(path)) from problem
    if len(raw) > limit:
        raise error("the file is too large", where=str(path), expected=f"at most {limit:,} bytes")
    return raw


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON-able value, whatever the order of its keys."""
    return sha256_bytes(canonical_json(value).encode())
