"""Finding a clip's row in the index of a frame store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.video.store_format import INDEX_FILE, ROW, key_of, read_rows


@dataclass(frozen=True)
class KeptClip:
    """What a store holds of a video: the number of its row, how many frames (0 for a failure), and
    the size and modification time of the file that it was made from."""

    position: int
    frames: int
    source_size: int
    source_mtime: int


class StoreIndex:
    """The rows of a store's index by video id; where an id has several, the last one counts.

    whole: which rows speak of bytes that are there, None for all.
    """

    def __init__(self, rows: NDArray[np.void], whole: NDArray[np.bool_] | None = None) -> None:
        self.rows = rows
        self.whole = np.ones(len(rows), bool) if whole is None else whole
        self._order = np.argsort(rows["key"], kind="stable")
        self._keys = rows["key"][self._order]

    @classmethod
    def empty(cls) -> StoreIndex:
        """The index of a store that holds nothing."""
        return cls(np.zeros(0, ROW))

    def position(self, video: str) -> int | None:
        """The number of the row of a video id, None where there is none."""
        key = np.uint64(key_of(video))
        place = int(np.searchsorted(self._keys, key, side="right")) - 1
        if place < 0 or self._keys[place] != key:
            return None
        return int(self._order[place])

    def kept(self, video: str) -> KeptClip | None:
        """What there is of a video, None where that is nothing or nothing whole."""
        position = self.position(video)
        if position is None or not self.whole[position]:
            return None
        row = self.rows[position]
        numbers = (int(row[name]) for name in ("frames", "source_size", "source_mtime"))
        return KeptClip(position, *numbers)

    def latest(self) -> list[int]:
        """The numbers of the rows that count, in the order in which they were written."""
        last = np.ones(len(self._keys), bool)
        last[:-1] = self._keys[1:] != self._keys[:-1]
        return sorted(self._order[last].tolist())


def load_index(folder: Path) -> StoreIndex:
    """The index of a store for reading. Raises DataError when it cannot be read or is damaged."""
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
