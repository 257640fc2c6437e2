"""The files of an embedding store: shards of a fixed layout that know their own checksum.

A shard is a .safetensors file with one float32 tensor `embeddings` (N, …), a row a video. Its
header holds the rows' sources (JSON under `vclip`) and the sha256 of the rows and the values
together. Shards are written whole and never changed, so the shards alone are the index, and any
number of processes may add to one store.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import canonical_json, sha256_bytes, whole_file

SUFFIX = ".safetensors"
TENSOR = "embeddings"
_LENGTH = struct.Struct("<Q")
_LONGEST_HEADER = 100_000_000


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
    """A shard whose header could be read; offset: of the first value in the file, in bytes."""

    path: Path
    rows: ShardRows
    shape: tuple[int, ...]
    offset: int
    sha256: str

    @property
    def row_bytes(self) -> int:
        """The size of one row."""
        return 4 * int(np.prod(self.shape[1:]))


def write_shard(folder: Path, rows: ShardRows, values: np.ndarray) -> Path:
    """Write float32 values (N, …) with their rows; equal content gets an equal name.

    Raises StorageError.
    """
    from safetensors.numpy import save_file

    values = np.ascontiguousarray(values, np.float32)
    header = _header_of(rows)
    digest = _checksum(header, values.tobytes())
    path = folder / f"{digest[:24]}{SUFFIX}"
    with whole_file(path) as temporary:
        save_file({TENSOR: values}, temporary, metadata={"vclip": header, "sha256": digest})
    return path


def read_header(path: Path) -> ShardFile:
    """Everything of a shard but its values, which are not yet checked. Raises DataError."""
    try:
        with path.open("rb") as stream:
            (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
            if length > _LONGEST_HEADER:
                raise ValueError("the header's length is impossible")
            header = json.loads(stream.read(length))
        facts, tensor = header["__metadata__"], header[TENSOR]
        rows = ShardRows(**json.loads(facts["vclip"]))
        shard = ShardFile(
            path, rows, tuple(tensor["shape"]), _LENGTH.size + length, str(facts["sha256"])
        )
        columns = (rows.videos, rows.paths, rows.sizes, rows.times, rows.damage)
        wrong = tensor["dtype"] != "F32" or any(len(c) != shard.shape[0] for c in columns)
        wrong |= path.stat().st_size != shard.offset + len(rows.videos) * shard.row_bytes
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
        *(RecursionError, struct.error),
    ) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}"[:200]) from None
    if wrong:
        raise _damaged(path, "its size or its columns do not fit its rows")
    return shard


def check_values(shard: ShardFile) -> None:
    """Compare a shard's values and rows with its checksum. Raises DataError."""
    header = _header_of(shard.rows)
    with shard.path.open("rb") as stream:
        stream.seek(shard.offset)
        if _checksum(header, stream.read()) != shard.sha256:
            raise _damaged(shard.path, "the checksum differs")


def read_rows(shard: ShardFile, rows: Sequence[int]) -> np.ndarray:
    """The values of some rows, float32 (len(rows), …), read in place. Raises DataError."""
    values = np.empty((len(rows), *shard.shape[1:]), np.float32)
    try:
        with shard.path.open("rb", buffering=0) as stream:
            for place, row in enumerate(rows):
                stream.seek(shard.offset + row * shard.row_bytes)
                data = np.frombuffer(stream.read(shard.row_bytes), np.float32)
                values[place] = data.reshape(shard.shape[1:])
    except (OSError, ValueError) as error:
        raise DataError(
            "stored embeddings were changed or removed while they were read",
            where=str(shard.path),
            found=str(error),
            hint="run the same command again: it goes on from where it was",
        ) from None
    return values


def remove_shard(path: Path) -> None:
    """Delete a damaged shard, where that is allowed; nobody else needs it."""
    with contextlib.suppress(OSError):
        path.unlink()


def _header_of(rows: ShardRows) -> str:
    """The rows as JSON; bytes of a file name that are no text are escaped as JSON escapes them."""
    return canonical_json(asdict(rows)).encode("utf-8", "backslashreplace").decode()


def _checksum(header: str, data: bytes) -> str:
    return sha256_bytes(header.encode() + b"\0" + data)


def _damaged(path: Path, found: str) -> DataError:
    return DataError("a shard of stored embeddings is damaged", where=str(path), found=found)
