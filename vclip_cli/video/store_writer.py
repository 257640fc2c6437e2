"""Writing a frame store: videos are appended, and a video that was appended whole is never lost.

Blocks are flushed to disk before their rows are written. A writer that is killed leaves bytes
without a row, which the next writer cuts off. So a resumed run writes the same bytes as an
uninterrupted one.
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import storage_error, whole_file, write_json
from vclip_cli.video.store_format import (
    INDEX_FILE,
    SETTINGS_FILE,
    StoreSettings,
    read_settings,
    refuse_other_settings,
    refuse_other_versions,
    remove_store,
    settings_document,
    shard_path,
)
from vclip_cli.video.store_index import ROW, StoreIndex, key_of, read_rows, row_crc
from vclip_cli.video.store_packing import PackedVideo

SHARD_BYTES = 1 << 30
_VIDEOS_PER_COMMIT = 32
_SECONDS_PER_COMMIT = 10.0


class StoreWriter:
    """Appends videos to a store; used as a context. Only one writer at a time may be open."""

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

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if not isinstance(error, OSError | DataError):
                self.commit()
        finally:
            self._close_shard()

    def open(self, *, repair: bool = False) -> StoreIndex:
        """Make the store, or continue the one that is there; returns its index.

        The tail that a killed writer left is cut off. repair: leave out damaged rows, which are
        refused otherwise. A store that other versions made opens, and `made_by` holds its settings,
        but nothing can be added to it. Raises UsageError when the store has other settings,
        DataError when it is damaged, StorageError when it cannot be written.
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

    def add(self, packed: PackedVideo, *, trust: bool = True) -> bool:
        """Append a video; False when the store already holds the same.

        trust: use the bytes of an equal block again without reading them. Raises StorageError, and
        keeps what was whole before; UsageError where other versions made the store.
        """
        refuse_other_versions(self.folder, self.made_by, self.settings)
        head = packed.head.packed()
        row = np.zeros(1, ROW)
        row["key"], row["frames"] = key_of(packed.head.video), len(packed.head.indices)
        row["source_size"], row["source_mtime"] = packed.source.size, packed.source.mtime
        row["head"], row["head_crc"] = len(head), zlib.crc32(head)
        row["length"] = len(head) + len(packed.body)
        row["damage"] = sum(packed.head.damaged.as_dict().values())
        before = self.index.kept(packed.head.video) if trust else None
        old = None if before is None else self.index.rows[before.position]
        alike = ("length", "head", "head_crc", "frames")
        if old is not None and all(old[name] == row[name][0] for name in alike):
            row["shard"], row["offset"] = old["shard"], old["offset"]
            if all(old[name] == row[name][0] for name in ("source_size", "source_mtime")):
                return False
        else:
            try:
                row["shard"], row["offset"] = self._append(head, packed.body)
            except OSError as error:
                self._cut_uncommitted()
                raise storage_error(error, self.folder) from error
        row["crc"] = row_crc(row.tobytes())
        self._pending.append(row.tobytes())
        waited = time.monotonic() - self._committed_at
        if len(self._pending) >= _VIDEOS_PER_COMMIT or waited > _SECONDS_PER_COMMIT:
            self.commit()
        return True

    def commit(self) -> None:
        """Flush the blocks to disk, then append their rows. Raises StorageError."""
        self._committed_at = time.monotonic()
        # cleared before they are written: an interrupt must not write them twice
        rows, self._pending = self._pending, []
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
        """Write a block behind the last one; returns its shard and its offset there."""
        if self._end >= self._shard_bytes:
            self.commit()
            self._close_shard()
            self._shard, self._end = self._shard + 1, 0
        if self._stream is None:
            self._stream = shard_path(self.folder, self._shard).open("ab", buffering=0)
        start = self._end
        _write_all(self._stream, head)
        _write_all(self._stream, body)
        self._end = start + len(head) + len(body)
        return self._shard, start

    def _close_shard(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _size_of(self, number: int) -> int:
        path = shard_path(self.folder, number)
        return path.stat().st_size if path.exists() else 0

    def _whole(self, rows: NDArray[np.void], sound: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which rows have their whole block on disk."""
        ends = rows["offset"] + rows["length"]
        whole = np.zeros(len(rows), bool)
        for number in np.unique(rows["shard"][sound]).tolist():
            whole |= (rows["shard"] == number) & (ends <= self._size_of(number))
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
        """Cut off bytes without a row: the end of the last shard, and later shards."""
        self._shard = int(rows["shard"].max()) if len(rows) else 0
        last = rows[rows["shard"] == self._shard]
        self._end = int((last["offset"] + last["length"]).max()) if len(last) else 0
        for path in self.folder.glob("frames-*.bin"):
            if path > shard_path(self.folder, self._shard):
                path.unlink()
        size = self._size_of(self._shard)
        if size > self._end:
            os.truncate(shard_path(self.folder, self._shard), self._end)
        elif size < self._end:  # new bytes in the place of lost ones would be read as those
            self._shard, self._end = self._shard + 1, 0
        self._shard_committed, self._end_committed = self._shard, self._end

    def _cut_uncommitted(self) -> None:
        """After a failed write: leave only what is whole, so that the store can be read."""
        self._pending = []
        self._close_shard()
        with contextlib.suppress(OSError):  # the next writer cuts it off as well
            os.truncate(self._index_path, self._rows_written * ROW.itemsize)
        with contextlib.suppress(OSError):
            os.truncate(shard_path(self.folder, self._shard_committed), self._end_committed)
            if self._shard > self._shard_committed:
                shard_path(self.folder, self._shard).unlink(missing_ok=True)
        self._shard, self._end = self._shard_committed, self._end_committed


def _write_all(stream: BinaryIO, data: bytes) -> None:
    """Write everything: an unbuffered file may write a part only when the disk is nearly full."""
    view = memoryview(data)
    while view:
        view = view[stream.write(view) :]


def drop_dead_bytes(folder: Path) -> int:
    """Remove blocks that no row refers to, of videos extracted again; returns the bytes freed.

    No writer may be open. Each shard is copied to a new name before the index refers to the copy,
    so a killed process leaves a store that can be read. Raises StorageError.
    """
    try:
        rows, sound, _ = read_rows(folder / INDEX_FILE)
        live = rows[sound][StoreIndex(rows[sound]).latest()].copy()
        numbers = sorted(int(path.stem.split("-")[1]) for path in folder.glob("frames-*.bin"))
        freed, free_number = 0, numbers[-1] + 1 if numbers else 0
        for number in numbers:
            chosen = np.flatnonzero(live["shard"] == number)
            path = shard_path(folder, number)
            size, needed = path.stat().st_size, int(live["length"][chosen].sum())
            ends = live["offset"][chosen] + live["length"][chosen]
            if size <= needed or ends.max(initial=0) > size:  # no dead bytes, or some are lost
                continue
            if needed:
                _move(folder, path, live, chosen, free_number)
                free_number += 1
            path.unlink()
            freed += size - needed
    except OSError as error:
        raise storage_error(error, folder) from error
    return freed


def _move(
    folder: Path, path: Path, live: NDArray[np.void], chosen: NDArray[np.intp], number: int
) -> None:
    """Copy the blocks of the `chosen` rows into a new shard, then write the index anew."""
    end = 0
    with (
        whole_file(shard_path(folder, number)) as copy,
        path.open("rb") as old,
        copy.open("wb") as new,
    ):
        for place in chosen[np.argsort(live["offset"][chosen])].tolist():
            old.seek(int(live["offset"][place]))
            length = int(live["length"][place])
            new.write(old.read(length))
            live["shard"][place], live["offset"][place] = number, end
            live["crc"][place] = row_crc(live[place].tobytes())
            end += length
    with whole_file(folder / INDEX_FILE) as temporary:
        temporary.write_bytes(live.tobytes())
