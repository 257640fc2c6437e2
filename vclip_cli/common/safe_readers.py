"""Readers of untrusted JSON, Parquet and tensor files: limits, and one error for damage."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import DataError, VclipError
from vclip_cli.common.files import read_limited

if TYPE_CHECKING:
    import pyarrow as pa

MAX_BYTES = 512 * 1024 * 1024
"""The size limit: four times a record with half a million failed videos."""
MAX_DEPTH = 64
MAX_TEXT = 100_000
_INVISIBLE = re.compile(
    "[\x7f-\xa0\xad\u0600-\u0605\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb]"
)
"""Characters that JSON allows in texts and that can deceive: terminal codes, invisible marks."""
_EXPANSION = 200
"""Bytes in memory per byte on disk; files that vclip writes stay below twenty."""
_ALWAYS_ALLOWED = 64 * 1024 * 1024


def json_text(value: Any) -> str:
    """Indented JSON with a final newline, to be printed: invisible characters are escaped."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return _INVISIBLE.sub(lambda match: f"\\u{ord(match.group()):04x}", text) + "\n"


def read_json(path: Path, *, error: type[VclipError] = DataError) -> Any:
    """The value of a JSON file: finite numbers, valid texts, no deep nesting.

    Raises `error` with file and line where the file is missing, too large, not JSON, or exceeds
    the limits.
    """
    return parse_json(read_limited(path, MAX_BYTES, error), str(path), error=error)


def parse_json(
    raw: bytes | str, where: str, *, error: type[VclipError] = DataError, finite: bool = True
) -> Any:
    """The value of JSON text, under the limits of `read_json`.

    finite: refuse NaN and infinite numbers.
    """
    try:
        value = json.loads(
            raw.decode("utf-8") if isinstance(raw, bytes) else raw,
            parse_constant=_refuse_constant if finite else None,
            parse_float=_finite if finite else None,
        )
        _check(value)
    except json.JSONDecodeError as problem:
        place = f"{where}:{problem.lineno}"
        raise error(f"not valid JSON: {problem.msg}", where=place) from None
    except RecursionError:
        raise error("not valid JSON: nested too deeply", where=where) from None
    except ValueError as problem:  # not UTF-8, a number of thousands of digits, or from below
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
    """Raises ValueError for deep nesting, and for texts that are too long or cannot be written."""
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
                if len(part) > MAX_TEXT:
                    raise ValueError(f"a text of {len(part):,} characters")
                part.encode()  # raises for half of a surrogate pair
        level = below


@contextlib.contextmanager
def open_tensors(path: Path, damaged: str, hint: str | None = None) -> Iterator[Any]:
    """An open .safetensors file, read to numpy arrays.

    Any error within the block is a DataError that says `damaged`.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="numpy") as stream:
            yield stream
    except Exception as error:  # the format's reader has no common error for damaged files
        found = f"{type(error).__name__}: {error}"[:200]
        raise DataError(damaged, where=str(path), found=found, hint=hint) from None


def read_parquet(path: Path, what: str) -> pa.Table:
    """The table of one Parquet file; `what` it is called in errors.

    Raises DataError where it is missing, damaged, or would expand to far more than its size.
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
            hint="it is damaged or not a Parquet file",
        ) from None


def _refuse_bomb(footer: pa.parquet.FileMetaData, path: Path, what: str) -> None:
    """A footer may claim any size, and a small page may expand to it."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    claimed = sum(group.total_byte_size for group in groups)
    cells = sum(group.num_rows * group.num_columns for group in groups)
    size = path.stat().st_size
    allowed = _EXPANSION * size + _ALWAYS_ALLOWED
    if max(claimed, 8 * cells, footer.num_rows) > allowed or claimed < 0 or cells < 0:
        shape = f"{footer.num_rows:,} rows of {footer.num_columns:,} columns"
        raise DataError(
            f"the {what} claims far more than it can hold",
            where=str(path),
            found=f"{shape}, {claimed:,} bytes in a file of {size:,}",
            hint="it is damaged, or was made to fill the memory",
        )
