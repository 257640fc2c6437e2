"""Annotation files from anywhere: lines, CSV rows, clean paths, class names and split names."""

from __future__ import annotations

import csv
import re
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


_ID_HEADERS = {"id", "index", "label", "label_id"}


def read_class_names(path: Path) -> dict[str, str]:
    """Label id, as it is written in lists, to class name.

    Lines are `id,name` (with or without a header), `id name`, or names alone, which count from 0.
    Raises DataError with file and line.
    """
    lines = read_lines(path)
    names: dict[str, str] = {}
    rows = _id_rows(lines, path)
    if rows is None:
        rows = [
            (number, str(index), line.strip())
            for index, (number, line) in enumerate(
                (number, line) for number, line in enumerate(lines, 1) if line.strip()
            )
        ]
    for number, label_id, name in rows:
        where = f"{path}:{number}"
        if not name:
            raise DataError("the class has no name", where=where)
        if label_id in names:
            raise DataError(f"the label id {label_id} stands twice", where=where)
        names[label_id] = name
    if not names:
        raise DataError("the file names no class", where=str(path))
    return names


def _id_rows(lines: list[str], path: Path) -> list[tuple[int, str, str]] | None:
    """Rows of number, id and name; None when the first line has no id."""
    rows = list(csv_rows(lines, path)) if any("," in line for line in lines) else []
    if rows and rows[0][1][0].strip().lower() in _ID_HEADERS:
        rows = rows[1:]
    if rows and all(len(fields) > 1 and fields[0].strip().isdecimal() for _, fields in rows):
        return [(n, _plain(fields[0]), ",".join(fields[1:]).strip()) for n, fields in rows]
    split = [(n, line.split(None, 1)) for n, line in enumerate(lines, 1) if line.strip()]
    if split and all(len(parts) == 2 and parts[0].isdecimal() for _, parts in split):
        return [(n, _plain(parts[0]), parts[1].strip()) for n, parts in split]
    return None


def _plain(number: str) -> str:
    return str(int(number))


EVERYTHING = ("all", "full")
"""Both stand for every listed video."""

_KINDS = ("train", "validation", "test", "unused")
_OURS = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validate": "validation",
    "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test",
    "all": "all", "full": "all",
}  # fmt: skip
_FILLERS = re.compile(r"(?i)(videos?|list|files?|split|set|labels?|annotations?)")
_WORDS = re.compile(r"[^a-z]+")


def split_order(name: str) -> tuple[str, int, str]:
    """A sort key: by number (`train-1`), training before validation before test."""
    kind, _, number = name.partition("-")
    return number, _KINDS.index(kind) if kind in _KINDS else len(_KINDS), kind


def split_name(text: str) -> str | None:
    """Our name for a folder or list named like `train`, `videos_val`, `testlist`; else None."""
    words = [word for word in _WORDS.split(_FILLERS.sub(" ", text).lower()) if word]
    return _OURS.get(words[0]) if len(words) == 1 else None
