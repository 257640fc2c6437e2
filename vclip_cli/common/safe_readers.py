"""JSON and Parquet files from anywhere, read with limits on size, depth, numbers and texts."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import DataError, VclipError

if TYPE_CHECKING:
    import pyarrow as pa


MAX_BYTES = 512 * 1024 * 1024
"""A record of half a million videos that all failed takes a quarter of this."""
MAX_DEPTH = 64
MAX_TEXT = 100_000
_OBEYED = re.compile(
    "[\x7f-\xa0\xad\u0600-\u0605\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
"""What JSON lets pass in texts, and a terminal or an eye obeys: codes, and what has no shape."""


def json_text(value: Any) -> str:
    """Indented JSON with a final newline, to be printed: what a terminal obeys is spelled out."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _OBEYED.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n"


def read_json(path: Path, *, error: type[VclipError] = DataError) -> Any:
    """The value of a JSON file: finite numbers, sound texts, no deep nesting.

    Raises `error` with file and line where the file is missing, too large, no JSON, or holds what
    no artefact holds.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as problem:
        raise error(f"cannot be read: {problem.strerror}", where=str(path)) from problem
    if len(raw) > MAX_BYTES:
        raise error("the file is too large", where=str(path), expected=f"at most {MAX_BYTES:,} B")
    return parse_json(raw, str(path), error=error)


def parse_json(
    raw: bytes | str, where: str, *, error: type[VclipError] = DataError, finite: bool = True
) -> Any:
    """The value of JSON text, under the limits of `read_json`.

    finite: refuse NaN and infinite numbers.
    """
    try:
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        value = json.loads(
            text,
            parse_constant=_refuse_constant if finite else None,
            parse_float=_finite if finite else None,
        )
        _check(value)
    except json.JSONDecodeError as problem:
        place = f"{where}:{problem.lineno}"
        raise error(f"not valid JSON: {problem.msg}", where=place) from None
    except RecursionError:
        raise error("not valid JSON: nested too deeply", where=where) from None
    except ValueError as problem:  # not UTF-8, a number of thousands of digits, one of ours
        raise error(f"not valid JSON: {str(problem)[:120]}", where=where) from None
    return value


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _check(value: Any) -> None:
    """Raises ValueError for deep nesting and for texts that are endless or no text."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"nested more than {MAX_DEPTH} levels deep")
        below: list[Any] = []
        for part in level:
            if isinstance(part, dict):
                below.extend(part)
                below.extend(part.values())
            elif isinstance(part, list):
                below.extend(part)
            elif isinstance(part, str):
                _check_text(part)
        level = below


def _check_text(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise ValueError(f"a text of {len(text):,} characters")
    if not text.isascii():
        text.encode()  # half of a surrogate pair cannot be written anywhere


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
