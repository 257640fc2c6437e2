"""The files of an embedding store: shards that hold their own checksum.

A shard is a .safetensors file with one float32 tensor `embeddings` (N, …), one row per video. Its
header holds the sources of the rows (JSON under `vclip`) and the sha256 of rows and values. Shards
are written whole and never changed. They are the only index of a store, and any number of processes
may add to it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import canonical_json, sha256_bytes, write_tensors
from vclip_cli.common.safe_readers import open_tensors

SUFFIX = ".safetensors"
TENSOR = "embeddings"
_DAMAGED = "a shard of stored embeddings is damaged"


@dataclass(frozen=True)
class ShardRows:
    """Where the rows of a shard come from.

    dataset: its name when they were computed, empty for single videos; root: its folder, absolute;
    videos, paths: ids and files relative to the root; sizes in bytes, times: modification times in
    nanoseconds; damage: signs of damage that were counted while a video was decoded.
    """

    dataset: str
    root: str
    videos: list[str]
    paths: list[str]
    sizes: list[int]
    times: list[int]
    damage: list[dict[str, int]]


@dataclass(frozen=True)
class ShardFile:
    """A shard whose header could be read. sha256: of rows and values, as the header has it."""

    path: Path
    rows: ShardRows
    sha256: str


def write_shard(folder: Path, rows: ShardRows, values: np.ndarray) -> Path:
    """Write float32 values (N, …) with their rows; equal content gets an equal name.

    Raises StorageError.
    """
    values = np.ascontiguousarray(values, np.float32)
    header = _header_of(rows)
    digest = _checksum(header, values)
    path = folder / f"{digest[:24]}{SUFFIX}"
    write_tensors(path, {TENSOR: values}, {"vclip": header, "sha256": digest})
    return path


def read_header(path: Path) -> ShardFile:
    """Read a shard's header; its values are not read or checked. Raises DataError."""
    with open_tensors(path, _DAMAGED) as stream:
        facts, values = stream.metadata(), stream.get_slice(TENSOR)
        rows = ShardRows(**json.loads(facts["vclip"]))
        columns = (rows.videos, rows.paths, rows.sizes, rows.times, rows.damage)
        count = values.get_shape()[0]
        if values.get_dtype() != "F32" or any(len(column) != count for column in columns):
            raise ValueError("its columns do not fit its values")
        return ShardFile(path, rows, str(facts["sha256"]))


def check_values(shard: ShardFile) -> None:
    """Compare a shard's values and rows with its checksum. Raises DataError."""
    if _checksum(_header_of(shard.rows), read_rows(shard)) != shard.sha256:
        raise DataError(_DAMAGED, where=str(shard.path), found="the checksum differs")


def read_rows(shard: ShardFile, rows: int | slice = slice(None)) -> np.ndarray:
    """The values of one row, float32 (…), or of several (N, …). Raises DataError."""
    changed = "stored embeddings were changed or removed while they were read"
    hint = "run the same command again: it continues where it was"
    with open_tensors(shard.path, changed, hint) as stream:
        values: np.ndarray = stream.get_slice(TENSOR)[rows]
        return values


def _header_of(rows: ShardRows) -> str:
    """The rows as JSON; bytes of a file name that are not UTF-8 are escaped."""
    return canonical_json(asdict(rows)).encode("utf-8", "backslashreplace").decode()


def _checksum(header: str, values: np.ndarray) -> str:
    return sha256_bytes(header.encode() + b"\0" + values.tobytes())
