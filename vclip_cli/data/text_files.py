"""Lines and CSV rows of annotation files: UTF-8, maybe with a byte-order mark, LF or CRLF."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from vclip_cli.common.errors import DataError

MAX_BYTES = 512 * 1024 * 1024
"""The longest official list, of Kinetics, has a twentieth of this."""


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends; the line at index i is line i + 1.

    Only LF and CRLF end a line. Raises DataError with file and line when it is not UTF-8 text.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if len(raw) > MAX_BYTES:
        raise DataError(
            "the file is too large for a list", where=str(path), expected=f"at most {MAX_BYTES:,} B"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the file is not UTF-8 text",
            where=f"{path}:{line}",
            found=f"the byte 0x{error.object[error.start]:02x}",
            hint="save it as UTF-8",
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise DataError("the file holds binary data", where=f"{path}:{line}")
    lines = text.split("\n")
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    if not lines[-1]:
        lines.pop()
    return lines


def csv_rows(
    lines: Iterable[str], path: Path, delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Line number (from 1) and fields of every row that is not blank.

    No character begins a comment. Raises DataError with file and line for broken quotes.
    """
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if any(field.strip() for field in fields):
                yield reader.line_num, fields
    except csv.Error as error:
        raise DataError(f"not valid CSV: {error}", where=f"{path}:{reader.line_num}") from None


def inside(path: str, where: str) -> str:
    """A listed path as a clean relative one with forward slashes.

    Raises DataError when it is empty, absolute or climbs out of the folder of videos.
    """
    clean = path.replace("\\", "/")
    parts = [part for part in clean.split("/") if part not in ("", ".")]
    absolute = clean.startswith("/") or clean[1:2] == ":"
    if absolute or ".." in parts or not parts or "\0" in clean:
        raise DataError(
            "the path does not stay inside the folder of videos",
            where=where,
            found=repr(path),
            expected="a path relative to the folder of videos, without '..'",
        )
    return "/".join(parts)
