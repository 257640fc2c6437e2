"""A list of videos with labels, or a folder of such lists named after their splits."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import plain_name
from vclip_cli.data.annotation_files import read_class_names, split_name
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.manifest import split_order
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.data.video_list import ListEntry, read_video_list
from vclip_cli.data.videos_on_disk import without_ending

TITLE = "list of videos: `path label`, `path,label`, `path l1 l2 …`, or a CSV with a header"
LABEL_SET = None
GENERIC = True
TWO_LABELS = (
    "every line has two numbers, and both were taken for labels: if the first is a count of frames,"
    " remove that column"
)

_LIST_ENDINGS = (".txt", ".csv", ".lst", ".list")
_NAMES_FILES = ("classes.txt", "classes.csv", "labels.txt", "labels.csv", "class_names.txt")


def detects(path: Path) -> bool:
    """A text file, or a folder with a list for at least one split."""
    if path.is_dir():
        return any(_is_list(file) for file in path.iterdir())
    return path.suffix.lower() in _LIST_ENDINGS


def read(
    path: Path, label_set: LabelSet | None = None, *, multi_label: bool = False
) -> Annotations:
    """Read the list or lists. The id of a video is its relative path without the ending.

    Numbers are ids of a `classes.txt` beside the lists, or indices into the label set; without
    either they are class names themselves. A line with several numbers makes the dataset
    multi-label. With `multi_label` it is so in any case, and a video may have several lines. Raises
    DataError with file and line.
    """
    lists = list_files(path) if path.is_dir() else {"": path}
    if not lists:
        raise DataError(
            "the folder holds no list",
            where=str(path),
            expected="files such as train.txt, validation.csv, test.txt",
        )
    beside = (path / name for name in _NAMES_FILES)
    names_file = next((file for file in beside if path.is_dir() and file.is_file()), None)
    names = read_class_names(names_file) if names_file is not None else None
    rows: list[tuple[str, str, str, str]] = []
    first_seen: dict[str, tuple[str, str]] = {}
    entries = [
        (split, f"{file}:{entry.line}", entry)
        for split, file in lists.items()
        for entry in read_video_list(file).entries
    ]
    multi_label = multi_label or any(len(entry.labels) > 1 for _, _, entry in entries)
    numbered = False
    for split, where, entry in entries:
        if not entry.labels and not multi_label:
            raise DataError(
                "wrong number of columns", where=where, found="1", expected="a path and a label"
            )
        video = without_ending(entry.path)
        classes = [class_behind(label, label_set, names, where) for label in entry.labels]
        if classes and label_set is None and names is None:
            numbered |= all(map(str.isdecimal, classes))
        if not multi_label:
            _require_same_label(first_seen, video, classes[0], where)
        part = _split_of(entry, split, where)
        rows.extend((video, entry.path, name, part) for name in classes or [""])
    remarks: tuple[str, ...] = ()
    if numbered:
        remarks = ("the labels are numbers without names: write the names into the label set",)
    labels = [entry.labels for _, _, entry in entries]
    if multi_label and all(len(pair) == 2 and all(map(str.isdecimal, pair)) for pair in labels):
        remarks += (TWO_LABELS,)
    table = pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)
    return Annotations(table, None, multi_label, remarks)


def list_files(folder: Path) -> dict[str, Path]:
    """Split name to list file. Raises DataError when two files are named after one split."""
    found: dict[str, Path] = {}
    for path in sorted(file for file in folder.iterdir() if _is_list(file)):
        name = split_name(path.stem) or ""
        if name in found:
            raise DataError(
                f"two lists of the split {name!r}",
                where=str(folder),
                found=f"{found[name].name} and {path.name}",
                hint="give one list alone, or keep one file a split in the folder",
            )
        found[name] = path
    return {name: found[name] for name in sorted(found, key=split_order)}


def _is_list(path: Path) -> bool:
    named = path.suffix.lower() in _LIST_ENDINGS and split_name(path.stem) is not None
    return named and path.is_file()


def class_behind(
    label: str, label_set: LabelSet | None, names: dict[str, str] | None, where: str
) -> str:
    """The class name of a list's label, which is a number or a name in any spelling.

    names: label id to name; it comes before the label set's order. Raises DataError at `where`.
    """
    if label.isdecimal() and names is not None:
        if str(int(label)) not in names:
            expected = f"one of {len(names)} ids"
            raise DataError(f"the label id {label} has no name", where=where, expected=expected)
        label = names[str(int(label))]
    elif label.isdecimal() and label_set is not None and label not in label_set.names:
        if int(label) >= len(label_set.names):
            expected = f"0 to {len(label_set.names) - 1}"
            raise DataError(f"the label {label} is no class", where=where, expected=expected)
        return label_set.names[int(label)]
    return label_set.resolve(label, where) if label_set is not None else label


def _require_same_label(
    first_seen: dict[str, tuple[str, str]], video: str, name: str, where: str
) -> None:
    known, known_at = first_seen.setdefault(video, (name, where))
    if known != name:
        raise DataError(
            f"the video {video!r} has two labels in a single-label list",
            where=where,
            found=f"{name!r}, and {known!r} in {known_at}",
            hint="a multi-label list holds all labels of a video in one line: path l1 l2 …; a CSV"
            " with a row for each video and label is read with: --format label-rows",
        )


def _split_of(entry: ListEntry, of_file: str, where: str) -> str:
    if not entry.split:
        return of_file or "all"
    part = split_name(entry.split) or entry.split
    try:
        if ";" in part or "+" in part:
            raise ValueError("a split's name must not hold ';' or '+'")
        return plain_name(part)
    except ValueError as error:
        raise DataError(str(error), where=where, found=repr(entry.split)[:120]) from None
