"""Lists of videos in the forms that method repositories use, one entry per line.

- `path label`, `path l1 l2 …`: blanks; labels are numbers or one class name
- `path,label`, `path,l1,l2`: commas; a path with a comma stands in double quotes
- `folder frames label`: extracted frames; the folder's name is the video's
- a CSV with a header: `video` (or `path`, `file`), and maybe `class` (or `label`) and `split`
- `path` alone, where only the choice of videos matters
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import csv_rows, inside, numbered_lines, read_lines
from vclip_cli.data.videos_on_disk import VIDEO_ENDINGS

_ENDINGS = "|".join(sorted(ending[1:] for ending in VIDEO_ENDINGS))
_WITH_ENDING = re.compile(rf"(?is)(?P<path>.+\.(?:{_ENDINGS}))(?:(?P<mark>[,\s])(?P<rest>.*))?")
_HEADERS = {
    "path": ("video", "path", "file", "filename", "video_id", "id"),
    "class": ("class", "label", "labels", "action"),
    "split": ("split", "subset", "set"),
}


@dataclass(frozen=True)
class ListEntry:
    """One line: its number, the path (made relative), its labels as written, its split."""

    line: int
    path: str
    labels: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True)
class VideoList:
    """The entries of a list; header: the columns, where it is a CSV with a header."""

    path: Path
    entries: tuple[ListEntry, ...]
    header: tuple[str, ...] = ()


def read_video_list(path: Path) -> VideoList:
    """Read a list in any of the forms above. Raises DataError with file and line."""
    rows = list(numbered_lines(path))
    if not rows:
        raise DataError("the list is empty", where=str(path))
    header = [field.strip().lower() for _, row in csv_rows([rows[0][1]], path) for field in row]
    if columns := _columns(header):
        return VideoList(path, _tabular(path, columns), tuple(header))
    parsed = [(number, *_parse(line, f"{path}:{number}")) for number, line in rows]
    counts = {len(labels) for _, _, labels in parsed}
    frames = counts == {2} and all(
        not _WITH_ENDING.fullmatch(stated) and all(part.isdecimal() for part in labels)
        for _, stated, labels in parsed
    )
    entries = []
    for number, stated, labels in parsed:
        where = f"{path}:{number}"
        if bool(labels) != bool(parsed[0][2]):
            expected = "a path and a label" if parsed[0][2] else "a path alone, as before"
            raise _wrong_columns(where, 1 + len(labels), expected)
        kept = labels[1:] if frames else labels
        entries.append(ListEntry(number, inside(stated, where), tuple(kept)))
    return VideoList(path, tuple(entries))


def _wrong_columns(where: str, found: int, expected: str) -> DataError:
    return DataError("wrong number of columns", where=where, found=f"{found}", expected=expected)


def _columns(header: list[str]) -> dict[str, int] | None:
    """The positions of the columns by what they hold, and their `count`; None for no header."""
    columns: dict[str, int] = {}
    for role, known in _HEADERS.items():
        if found := [name for name in known if name in header]:
            columns[role] = header.index(found[0])
    if "path" not in columns or (len(header) > 1 and "class" not in columns):
        return None
    return {**columns, "count": len(header)}


def _tabular(path: Path, columns: dict[str, int]) -> tuple[ListEntry, ...]:
    entries = []
    for number, fields in list(csv_rows(read_lines(path), path))[1:]:
        where = f"{path}:{number}"
        if len(fields) != columns["count"]:
            raise _wrong_columns(where, len(fields), str(columns["count"]))
        label = fields[columns["class"]].strip() if "class" in columns else ""
        split = fields[columns["split"]].strip() if "split" in columns else ""
        stated = inside(fields[columns["path"]], where)
        entries.append(ListEntry(number, stated, (label,) if label else (), split))
    if not entries:
        raise DataError("the list has a header and nothing else", where=str(path))
    return tuple(entries)


def _parse(line: str, where: str) -> tuple[str, list[str]]:
    """The path and the labels of a line, as written."""
    if line.startswith('"'):
        try:
            _, fields = next(csv_rows([line], Path(where)), (0, [""]))
        except DataError as error:
            raise error.at(where) from None
        if not any(fields):
            raise DataError("the path is empty", where=where, found=line[:80])
        return fields[0], [field.strip() for field in fields[1:] if field.strip()]
    if match := _WITH_ENDING.fullmatch(line):
        rest = (match["rest"] or "").strip()
        return match["path"], _labels(rest, "," if match["mark"] == "," else None)
    if "," in line:
        stated, _, label = line.rpartition(",")
        if not label.strip():
            raise DataError("the label is missing", where=where, found=repr(line))
        return stated.strip(), [label.strip()]
    stated, _, rest = line.partition(" ") if " " in line else line.partition("\t")
    return stated, _labels(rest.strip(), None)


def _labels(rest: str, mark: str | None) -> list[str]:
    """Numbers between marks, or the whole text as one class name."""
    parts = [part.strip() for part in rest.split(mark)]
    parts = [part for part in parts if part]
    if len(parts) > 1 and not all(part.isdecimal() for part in parts):
        return [rest]
    return parts
