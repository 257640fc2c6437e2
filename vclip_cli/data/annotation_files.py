"""Annotation files from anywhere: lines, CSV rows, clean paths, class names and split names.

Files are UTF-8, with or without a byte-order mark, and have LF or CRLF. No character begins a
comment, since real file names hold `#`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import read_limited

MAX_BYTES = 512 * 1024 * 1024
"""The size limit: twenty times the longest official list, that of Kinetics."""
EVERYTHING = ("all", "full")
"""Both stand for every listed video."""

_ID_HEADERS = {"id", "index", "label", "label_id"}
_SPLIT_NAMES = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validate": "validation",
    "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test",
    "all": "all", "full": "all",
}  # fmt: skip
_FILLERS = re.compile(r"(?i)(videos?|list|files?|split|set|labels?|annotations?)")
_WORDS = re.compile(r"[^a-z]+")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without their ends; the line at index i is line i + 1.

    Only LF and CRLF end a line. Raises DataError with file and line when it is not UTF-8 text.
    """
    raw = read_limited(path, MAX_BYTES)
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


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The number (from 1) and the stripped text of every line that is not blank."""
    for number, line in enumerate(read_lines(path), 1):
        if text := line.strip():
            yield number, text


def csv_rows(lines: Iterable[str], path: Path) -> Iterator[tuple[int, list[str]]]:
    """The line (from 1) where a row begins, and its fields. Blank rows are left out.

    Raises DataError with file and line for broken quotes.
    """
    reader = csv.reader(lines, strict=True)
    line = 1
    try:
        for fields in reader:
            if len(fields) > 1 or (fields and fields[0].strip()):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"not valid CSV: {error}", where=f"{path}:{line}") from None


def inside(path: str, where: str) -> str:
    """A listed path as a clean relative one with forward slashes.

    Raises DataError when it is empty, absolute or leads out of the folder of videos.
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


def read_class_names(path: Path) -> dict[str, str]:
    """Label id, as it is written in lists, to class name.

    Lines are `id,name` (with or without a header), `id name`, or names alone, which count from 0.
    Raises DataError with file and line.
    """
    names: dict[str, str] = {}
    for number, label_id, name in _class_rows(path):
        where = f"{path}:{number}"
        if not name:
            raise DataError("the class has no name", where=where)
        if label_id in names:
            raise DataError(f"the label id {label_id} appears twice", where=where)
        names[label_id] = name
    if not names:
        raise DataError("the file names no class", where=str(path))
    return names


def _class_rows(path: Path) -> list[tuple[int, str, str]]:
    """The line, the id and the name of every class."""
    lines = list(numbered_lines(path))
    rows: list[tuple[int, list[str]]] = []
    if any("," in text for _, text in lines):
        rows = list(csv_rows(read_lines(path), path))
        if rows[0][1][0].strip().lower() in _ID_HEADERS:
            rows = rows[1:]
        rows = [(number, [fields[0].strip(), ",".join(fields[1:])]) for number, fields in rows]
    if not rows or not all(fields[0].isdecimal() for _, fields in rows):
        rows = [(number, text.split(None, 1)) for number, text in lines]
    if all(len(fields) == 2 and fields[0].isdecimal() for _, fields in rows):
        return [(number, str(int(fields[0])), fields[1].strip()) for number, fields in rows]
    return [(number, str(index), text) for index, (number, text) in enumerate(lines)]


def split_name(text: str) -> str | None:
    """The split that a folder or list named `train`, `videos_val` or `testlist` holds, or None."""
    words = [word for word in _WORDS.split(_FILLERS.sub(" ", text).lower()) if word]
    return _SPLIT_NAMES.get(words[0]) if len(words) == 1 else None
