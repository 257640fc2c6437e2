"""Writing a frame store: clips are appended, and what was appended whole is never lost.

Blocks are flushed to disk before the rows that speak of them. A writer that is killed leaves bytes
that no row speaks of, which the next writer cuts off; so a resumed run gives the bytes of an
undisturbed one.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.files import storage_error, whole_file, write_json
from vclip_cli.video.store_format import (
    INDEX_FILE,
    ROW,
    SETTINGS_FILE,
    StoreSettings,
    key_of,
    read_rows,
    read_settings,
    row_crc,
    settings_document,
    shard_path,
)
from vclip_cli.video.store_index import StoreIndex
from vclip_cli.video.store_packing import PackedClip

SHARD_BYTES = 1 << 30
_CLIPS_A_COMMIT = 32
_SECONDS_A_COMMIT = 10.0


class StoreWriter:
    """Appends clips to a store; use it as a context. Only one writer at a time may be open."""

    def __init__(
        self, folder: Path, dataset: str, settings: StoreSettings, *, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder = folder
        self.dataset = dataset
        self.settings = self.made_by = settings
        self.dropped_rows = 0
        self._shard_bytes = shard_bytes
        self._index_path = folder / INDEX_FILE
        self._pending: list[bytes] = []
        self._stream: BinaryIO | None = None
        self._committed_at = time.monotonic()
        self._shard = self._end = 0
        self._shard_committed = self._end_committed = 0
        self._rows_written = 0
        self.index = StoreIndex.empty()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if not isinstance(error, OSError | DataError):
                self.commit()
        finally:
            if self._stream is not None:
                self._stream.close()
                self._stream = None

    def open(self, *, repair: bool = False) -> StoreIndex:
        """Make the store, or take up the one that is there; gives the rows that it holds.

        The tail that a killed writer left is cut off. repair: leave out damaged rows, which are
        refused otherwise. Raises UsageError when the store has other settings, DataError when it
        is damaged, StorageError when it cannot be written. A store that other versions made opens,
        and `made_by` holds its settings: nothing can be added to it.
        """
        if (self.folder / SETTINGS_FILE).exists():
            _, self.made_by = read_settings(self.folder)
            refuse_other_settings(self.folder, self.made_by, self.settings)
        else:
            remove_store(self.folder)
            document = settings_document(self.dataset, self.settings)
            write_json(self.folder / SETTINGS_FILE, document)
        try:
            rows, sound, rest = read_rows(self._index_path)
            usable = sound & self._whole(rows, sound)
            count = int(np.flatnonzero(usable)[-1]) + 1 if usable.any() else 0
            if count < len(rows) or rest:
                os.truncate(self._index_path, count * ROW.itemsize)
            rows, sound, usable = rows[:count], sound[:count], usable[:count]
            if not sound.all():
                rows = self._without_damaged(rows, sound, repair)
                usable = self._whole(rows, np.ones(len(rows), bool))
            self._cut_shards(rows)
        except OSError as error:
            raise storage_error(error, self.folder) from error
        self._rows_written = len(rows)
        self.index = StoreIndex(rows, usable)
        return self.index

    def add(self, clip: PackedClip, *, trust: bool = True) -> bool:
        """Append a clip; False when the store holds the very same already.

        trust: whether bytes that lie there and should be the same may be used again. Raises
        StorageError, and keeps all that was whole before; UsageError where other versions made the
        store.
        """
        refuse_other_versions(self.folder, self.made_by, self.settings)
        head = clip.head.packed()
        row = np.zeros(1, ROW)
        row["key"], row["frames"] = key_of(clip.head.video), len(clip.head.indices)
        row["source_size"], row["source_mtime"] = clip.source.size, clip.source.mtime
        row["head"], row["head_crc"] = len(head), zlib.crc32(head)
        row["length"] = len(head) + len(clip.body)
        row["damage"] = sum(clip.head.damaged.as_dict().values())
        before = self.index.kept(clip.head.video) if trust else None
        old = None if before is None else self.index.rows[before.position]
        alike = ("length", "head", "head_crc", "frames")
        if old is not None and all(old[name] == row[name][0] for name in alike):
            row["shard"], row["offset"] = old["shard"], old["offset"]
            if all(old[name] == row[name][0] for name in ("source_size", "source_mtime")):
                return False
        else:
            try:
                row["shard"], row["offset"] = self._append(head, clip.body)
            except OSError as error:
                self._cut_uncommitted()
                raise storage_error(error, self.folder) from error
        row["crc"] = row_crc(row.tobytes())
        self._pending.append(row.tobytes())
        waited = time.monotonic() - self._committed_at
        if len(self._pending) >= _CLIPS_A_COMMIT or waited > _SECONDS_A_COMMIT:
            self.commit()
        return True

    def commit(self) -> None:
        """Flush the blocks to disk, then append their rows. Raises StorageError."""
        self._committed_at = time.monotonic()
        rows, self._pending = self._pending, []  # an interrupt must not write them twice
        if not rows:
            return
        try:
            if self._stream is not None:
                os.fsync(self._stream.fileno())
            with self._index_path.open("ab", buffering=0) as stream:
                _write_all(stream, b"".join(rows))
                os.fsync(stream.fileno())
        except OSError as error:
            self._cut_uncommitted()
            raise storage_error(error, self.folder) from error
        self._rows_written += len(rows)
        self._shard_committed, self._end_committed = self._shard, self._end

    def _append(self, head: bytes, body: bytes) -> tuple[int, int]:
        """Write a block behind the last one; gives its shard and where it starts there."""
        if self._end >= self._shard_bytes:
            self.commit()
            if self._stream is not None:
                self._stream.close()
                self._stream = None
            self._shard, self._end = self._shard + 1, 0
        if self._stream is None:
            self._stream = shard_path(self.folder, self._shard).open("ab", buffering=0)
        start = self._end
        _write_all(self._stream, head)
        _write_all(self._stream, body)
        self._end = start + len(head) + len(body)
        return self._shard, start

    def _whole(self, rows: NDArray[np.void], sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows speak of bytes that are there."""
        ends = rows["offset"] + rows["length"]
        whole = np.zeros(len(rows), bool)
        for number in np.unique(rows["shard"][sound]).tolist():
            path = shard_path(self.folder, number)
            size = path.stat().st_size if path.exists() else 0
            whole |= (rows["shard"] == number) & (ends <= size)
        return whole

    def _without_damaged(
        self, rows: NDArray[np.void], sound: NDArray[np.bool_], repair: bool
    ) -> NDArray[np.void]:
        self.dropped_rows = int((~sound).sum())
        if not repair:
            raise DataError(
                "the index of the frame store is damaged",
                where=str(self._index_path),
                found=f"{self.dropped_rows:,} of {len(rows):,} rows",
                hint=f"vclip extract {self.dataset} --verify finds what is whole and extracts the"
                " rest again",
            )
        kept = rows[sound]
        with whole_file(self._index_path) as temporary:
            temporary.write_bytes(kept.tobytes())
        return kept

    def _cut_shards(self, rows: NDArray[np.void]) -> None:
        """Cut off what no row speaks of, at the end of the last shard and behind it."""
        self._shard = int(rows["shard"].max()) if len(rows) else 0
        last = rows[rows["shard"] == self._shard]
        self._end = int((last["offset"] + last["length"]).max()) if len(last) else 0
        for path in self.folder.glob("frames-*.bin"):
            if path > shard_path(self.folder, self._shard):
                path.unlink()
        path = shard_path(self.folder, self._shard)
        size = path.stat().st_size if path.exists() else 0
        if size > self._end:
            os.truncate(path, self._end)
        elif size < self._end:  # what is lost must not be taken for what comes in its place
            self._shard, self._end = self._shard + 1, 0
        self._shard_committed, self._end_committed = self._shard, self._end

    def _cut_uncommitted(self) -> None:
        """After a write that failed: leave only what is whole, so that it can be read."""
        self._pending = []
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        with contextlib.suppress(OSError):  # the next writer does the same
            os.truncate(self._index_path, self._rows_written * ROW.itemsize)
        with contextlib.suppress(OSError):
            os.truncate(shard_path(self.folder, self._shard_committed), self._end_committed)
            if self._shard > self._shard_committed:
                shard_path(self.folder, self._shard).unlink(missing_ok=True)
        self._shard, self._end = self._shard_committed, self._end_committed


def store_files(folder: Path) -> list[Path]:
    """The files of a store: others, such as a log, may lie beside them."""
    return [folder / SETTINGS_FILE, folder / INDEX_FILE, *folder.glob("frames-*.bin")]


def remove_store(folder: Path) -> None:
    """Delete the files of a store, and nothing else of the folder. Raises StorageError."""
    try:
        for path in store_files(folder):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error


def _write_all(stream: BinaryIO, data: bytes) -> None:
    """Write everything: an unbuffered file may take less at once when the disk gets full."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def refuse_other_settings(folder: Path, found: StoreSettings, wanted: StoreSettings) -> None:
    """Raises UsageError, with what differs, unless both are the same but for versions."""
    if found.of_any_version() == wanted.of_any_version():
        return
    differing = [
        name for name in StoreSettings.model_fields if getattr(found, name) != getattr(wanted, name)
    ]
    shown = {name: _shown(getattr(found, name)) for name in differing}
    asked = {name: _shown(getattr(wanted, name)) for name in differing}
    raise UsageError(
        "the folder holds a frame store with other settings",
        where=str(folder),
        found=", ".join(f"{name} {value}" for name, value in shown.items()),
        expected=", ".join(f"{name} {value}" for name, value in asked.items()),
        hint="ask for the same, choose another folder with --out, or replace it with --no-resume",
    )


def refuse_other_versions(folder: Path, found: StoreSettings, here: StoreSettings) -> None:
    """Raises UsageError unless decoder and encoder are of the versions that made the store: one
    store holds frames of one kind."""
    if found.versions == here.versions:
        return
    raise UsageError(
        "the frame store was made by other versions, and clips of these would be mixed in",
        where=str(folder),
        found=found.versions,
        expected=f"{here.versions}, which are installed here",
        hint="it can be read and checked as it is; to add clips install the versions that made it,"
        " choose another folder with --out, or extract all again with --no-resume",
    )


def _shown(value: object) -> str:
    if hasattr(value, "options"):
        return str(value.options())
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values() if part)
    return str(value)
