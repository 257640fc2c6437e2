"""Lists of videos in the forms that method repositories use, one entry a line.

- `path label`, `path l1 l2 …`: blanks; labels are numbers or one class name
- `path,label`, `path,l1,l2`: commas; a path with a comma stands in double quotes
- `folder frames label`: extracted frames; the folder's name is the video's
- a CSV with a header: `video` (or `path`, `file`), and maybe `class` (or `label`) and `split`
- `path` alone, where only the choice of videos matters

No character begins a comment: real file names hold `#`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import csv_rows, inside, read_lines
from vclip_cli.data.videos_on_disk import VIDEO_ENDINGS

_ENDINGS = "|".join(sorted(ending[1:] for ending in VIDEO_ENDINGS))
_WITH_ENDING = re.compile(rf"(?is)(?P<path>.+\.(?:{_ENDINGS}))(?:(?P<mark>[,\s])(?P<rest>.*))?")
_PATH_HEADERS = ("video", "path", "file", "filename", "video_id", "id")
_CLASS_HEADERS = ("class", "label", "labels", "action")
_SPLIT_HEADERS = ("split", "subset", "set")


@dataclass(frozen=True)
class ListEntry:
    """One line: its number, the path (made relative), its labels as written, its split."""

    line: int
    path: str
    labels: tuple[str, ...]
    split: str = ""


@dataclass(frozen=True)
class VideoList:
    """The entries of a list; `tabular` when it is a CSV with a header."""

    path: Path
    entries: tuple[ListEntry, ...]
    tabular: bool = False


def read_video_list(path: Path) -> VideoList:
    """Read a list in any of the forms above. Raises DataError with file and line."""
    lines = read_lines(path)
    rows = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows:
        raise DataError("the list is empty", where=str(path))
    if columns := _header(rows[0][1], path):
        return VideoList(path, _tabular(lines, path, columns), tabular=True)
    parsed = [(number, *_parse(line, path, number)) for number, line in rows]
    counts = {len(labels) for _, stated, labels in parsed}
    frames = counts == {2} and all(
        not _WITH_ENDING.fullmatch(stated) and all(part.isdecimal() for part in labels)
        for _, stated, labels in parsed
    )
    entries = []
    for number, stated, labels in parsed:
        where = f"{path}:{number}"
        if bool(labels) != bool(parsed[0][2]):
            raise DataError(
                "wrong number of columns",
                where=where,
                found=f"{1 + len(labels)}",
                expected="a path and a label" if parsed[0][2] else "a path alone, as before",
            )
        kept = labels[1:] if frames else labels
        entries.append(ListEntry(number, inside(stated, where), tuple(kept)))
    return VideoList(path, tuple(entries))


def _header(line: str, path: Path) -> dict[str, int] | None:
    fields = [field.strip().lower() for _, row in csv_rows([line], path) for field in row]
    columns: dict[str, int] = {}
    for role, known in (
        ("path", _PATH_HEADERS), ("class", _CLASS_HEADERS), ("split", _SPLIT_HEADERS)
    ):  # fmt: skip
        for name in known:
            if name in fields:
                columns.setdefault(role, fields.index(name))
    if "path" not in columns or (len(fields) > 1 and "class" not in columns):
        return None
    return {**columns, "count": len(fields)}


def _tabular(lines: list[str], path: Path, columns: dict[str, int]) -> tuple[ListEntry, ...]:
    entries = []
    for number, fields in list(csv_rows(lines, path))[1:]:
        where = f"{path}:{number}"
        if len(fields) != columns["count"]:
            raise DataError(
                "wrong number of columns",
                where=where,
                found=str(len(fields)),
                expected=str(columns["count"]),
            )
        label = fields[columns["class"]].strip() if "class" in columns else ""
        split = fields[columns["split"]].strip() if "split" in columns else ""
        stated = inside(fields[columns["path"]], where)
        entries.append(ListEntry(number, stated, (label,) if label else (), split))
    if not entries:
        raise DataError("the list has a header and nothing else", where=str(path))
    return tuple(entries)


def _parse(line: str, path: Path, number: int) -> tuple[str, list[str]]:
    """The path and the labels of a line, as written."""
    if line.startswith('"'):
        rows = list(csv_rows([line], path))
        if not rows:
            raise DataError("the path is empty", where=f"{path}:{number}", found=line[:80])
        fields = rows[0][1]
        return fields[0], [field.strip() for field in fields[1:] if field.strip()]
    if match := _WITH_ENDING.fullmatch(line):
        rest = (match["rest"] or "").strip()
        return match["path"], _labels(rest, "," if match["mark"] == "," else None)
    if "," in line:
        stated, _, label = line.rpartition(",")
        if not label.strip():
            raise DataError("the label is missing", where=f"{path}:{number}", found=repr(line))
        return stated.strip(), [label.strip()]
    stated, _, rest = line.partition(" ") if " " in line else line.partition("\t")
    return stated, _labels(rest.strip(), None)


def _labels(rest: str, mark: str | None) -> list[str]:
    parts = [part.strip() for part in rest.split(mark)]
    parts = [part for part in parts if part]
    if len(parts) > 1 and not all(part.isdecimal() for part in parts):
        return [rest]
    return parts
