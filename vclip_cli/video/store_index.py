"""The index of a frame store: one row of 64 bytes for each video, found by video id."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.video.store_format import INDEX_FILE

ROW = np.dtype(
    [
        ("key", "<u8"),
        ("offset", "<u8"),
        ("length", "<u8"),
        ("source_size", "<i8"),
        ("source_mtime", "<i8"),
        ("shard", "<u4"),
        ("head", "<u4"),
        ("head_crc", "<u4"),
        ("frames", "<u4"),
        ("damage", "<u4"),
        ("crc", "<u4"),
    ]
)
"""key: of the video id (`key_of`). offset, length, shard: where the block lies, in bytes.
source_size (bytes), source_mtime (ns): of the video file, -1 where there is none. head, head_crc:
length and checksum of the block's head. frames: how many are kept, 0 for a failure. damage: signs
of a damaged source, all kinds added up. crc: of the rest of the row."""


def key_of(video: str) -> int:
    """The index's key of a video id: the first 64 bits of its sha256."""
    return int.from_bytes(sha256(video.encode("utf-8", "surrogateescape")).digest()[:8], "little")


def row_crc(row: bytes) -> int:
    """The checksum of a row's bytes without its last field."""
    return zlib.crc32(row[: ROW.itemsize - 4])


def read_rows(path: Path) -> tuple[NDArray[np.void], NDArray[np.bool_], int]:
    """All rows of an index, which of them are sound, and how many bytes follow the last whole one.

    A missing index has no rows. Raises OSError.
    """
    data = path.read_bytes() if path.exists() else b""
    count, rest = divmod(len(data), ROW.itemsize)
    rows = np.frombuffer(data, ROW, count)
    view, size = memoryview(data), ROW.itemsize
    crcs = [zlib.crc32(view[start : start + size - 4]) for start in range(0, count * size, size)]
    return rows, rows["crc"] == np.array(crcs, dtype=np.uint32), rest


@dataclass(frozen=True)
class KeptVideo:
    """What a store holds of a video.

    position: the number of its row; frames: how many are kept, 0 for a failure; source_size,
    source_mtime: of the file that it was made from.
    """

    position: int
    frames: int
    source_size: int
    source_mtime: int


class StoreIndex:
    """The rows of a store's index by video id. Where an id has several rows, the last one counts.

    whole: whether the bytes of each row's block are there; None for all.
    """

    def __init__(self, rows: NDArray[np.void], whole: NDArray[np.bool_] | None = None) -> None:
        self.rows = rows
        self._whole = np.ones(len(rows), bool) if whole is None else whole
        self._order = np.argsort(rows["key"], kind="stable")
        self._keys = rows["key"][self._order]

    @classmethod
    def empty(cls) -> StoreIndex:
        """The index of an empty store."""
        return cls(np.zeros(0, ROW))

    def position(self, video: str) -> int | None:
        """The number of a video's row, None where there is none."""
        key = np.uint64(key_of(video))
        place = int(np.searchsorted(self._keys, key, side="right")) - 1
        if place < 0 or self._keys[place] != key:
            return None
        return int(self._order[place])

    def kept(self, video: str) -> KeptVideo | None:
        """What the store holds of a video, None where that is nothing or not whole."""
        position = self.position(video)
        if position is None or not self._whole[position]:
            return None
        row = self.rows[position]
        numbers = (int(row[name]) for name in ("frames", "source_size", "source_mtime"))
        return KeptVideo(position, *numbers)

    def latest(self) -> list[int]:
        """The numbers of the rows that count, in the order in which they were written."""
        last = np.ones(len(self._keys), bool)
        last[:-1] = self._keys[1:] != self._keys[:-1]
        return sorted(self._order[last].tolist())


def load_index(folder: Path) -> StoreIndex:
    """The index of a store, for reading. Raises DataError when it is unreadable or damaged."""
    path = folder / INDEX_FILE
    try:
        rows, sound, rest = read_rows(path)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if rest or not sound.all():
        found = f"{int((~sound).sum()):,} of {len(rows):,} rows"
        raise DataError(
            "the index of the frame store is damaged",
            where=str(path),
            found=found if not rest else f"{found}, and {rest} bytes of a row that was cut off",
            hint="vclip extract DATASET --verify finds what is whole and extracts the rest again",
        )
    return StoreIndex(rows)
