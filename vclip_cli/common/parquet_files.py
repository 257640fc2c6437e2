"""Parquet from anywhere, read with limits: a footer may claim any size, and a page unfold to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vclip_cli.common.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

_EXPANSION = 200
"""Bytes in memory for a byte on disk; files of ours stay below twenty."""
_ALWAYS_ALLOWED = 64 * 1024 * 1024


def read_parquet(path: Path, what: str) -> pa.Table:
    """The table of one Parquet file; `what` it is called in errors.

    Raises DataError where it is missing, damaged, or would unfold to far more than its size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise DataError(f"no such {what}", where=str(path))
    try:
        with pq.ParquetFile(path) as file:  # read_table would make columns of folders named a=b
            _refuse_bomb(file.metadata, path, what)
            return file.read()
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise DataError(
            f"the {what} cannot be read",
            where=str(path),
            found=str(error).strip().splitlines()[0][:200] if str(error).strip() else None,
            hint="it is damaged, or no Parquet file",
        ) from None


def _refuse_bomb(footer: pa.parquet.FileMetaData, path: Path, what: str) -> None:
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    claimed = sum(group.total_byte_size for group in groups)
    cells = sum(group.num_rows * group.num_columns for group in groups)
    allowed = _EXPANSION * path.stat().st_size + _ALWAYS_ALLOWED
    if max(claimed, 8 * cells, footer.num_rows) > allowed or claimed < 0 or cells < 0:
        raise DataError(
            f"the {what} claims far more than it can hold",
            where=str(path),
            found=f"{footer.num_rows:,} rows of {footer.num_columns:,} columns, {claimed:,} bytes"
            f" in a file of {path.stat().st_size:,}",
            hint="it is damaged, or was made to fill the memory",
        )
