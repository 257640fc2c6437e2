"""Files that name the classes behind a list's numbers: `id,name`, `id name`, or names alone."""

from __future__ import annotations

from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.data.text_files import csv_rows, read_lines

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
