"""Giving back what a frame store no longer speaks of: clips that were extracted again leave their
old bytes behind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.files import storage_error, whole_file
from vclip_cli.video.store_format import INDEX_FILE, read_rows, row_crc, shard_path
from vclip_cli.video.store_index import StoreIndex


def drop_dead_bytes(folder: Path) -> int:
    """Copy what counts out of shards that hold more than that; gives the bytes that became free.

    Nobody may write meanwhile. Shards are replaced one by one, by new names that the index then
    speaks of, so that a kill leaves a store that can be read. Raises StorageError.
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
            if size <= needed or ends.max(initial=0) > size:  # nothing is dead, or something lost
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
    """Copy the blocks of some rows into a shard of their own, and write the index anew."""
    end = 0
    with (
        whole_file(shard_path(folder, number)) as copy,
        path.open("rb") as source,
        copy.open("wb") as target,
    ):
        for place in chosen[np.argsort(live["offset"][chosen])].tolist():
            source.seek(int(live["offset"][place]))
            length = int(live["length"][place])
            target.write(source.read(length))
            live["shard"][place], live["offset"][place] = number, end
            live["crc"][place] = row_crc(live[place].tobytes())
            end += length
    with whole_file(folder / INDEX_FILE) as temporary:
        temporary.write_bytes(live.tobytes())
