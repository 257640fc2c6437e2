"""UCF101: classInd.txt, trainlist01.txt to testlist03.txt (the official recognition splits).

The class is the listed folder, never the file's name: `HandstandPushups/v_HandStandPushups_…`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import inside, read_lines
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import (
    LISTED,
    Classes,
    count_remarks,
    join_splits,
    label_set_or,
    official_files,
    place,
    require_files,
    require_videos,
)
from vclip_cli.data.videos_on_disk import video_stem

TITLE = "UCF101 recognition splits"
LABEL_SET = "ucf101"

_LISTS = r"(train|test)list0([123])\.txt"
_CLASSES = r"classInd\.txt"
_SUBFOLDERS = ("ucfTrainTestlist",)
_LINE = re.compile(r"(?P<path>\S.*\.\w+)(?:\s+(?P<number>\d+))?")
_OFFICIAL = {
    "train-1": 9537,
    "test-1": 3783,
    "train-2": 9586,
    "test-2": 3734,
    "train-3": 9624,
    "test-3": 3696,
}


def detects(path: Path) -> bool:
    """Whether the official lists lie here, by their names."""
    return bool(official_files(path, f"{_LISTS}|{_CLASSES}", _SUBFOLDERS))


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The lists that are there, trainlist01 first; a test list may carry class numbers too.

    Raises DataError, also where a class number of a list differs from classInd.txt.
    """
    lists = require_files(
        official_files(path, _LISTS, _SUBFOLDERS),
        path,
        "UCF101",
        "trainlist01.txt, testlist01.txt, …",
    )
    classes = Classes(label_set_or(label_set, LABEL_SET))
    numbers = _class_numbers(official_files(lists[0].parent, _CLASSES), classes)
    rows: list[tuple[str, str, str, str, str, int]] = []
    for source in sorted(lists, key=lambda file: (file.stem[-1], file.stem.startswith("test"))):
        kind, number = source.stem.split("list0")
        for line, text in enumerate(read_lines(source), 1):
            if text.strip():
                file, name = _parse(text.strip(), source, line, kind == "train", classes, numbers)
                rows.append((video_stem(file), file, name, f"{kind}-{number}", str(source), line))
    listed = require_videos(pd.DataFrame(rows, columns=list(LISTED)), path)
    joined, remarks = join_splits(listed)
    remarks += count_remarks(listed, _OFFICIAL)
    if not numbers:
        remarks.append("without classInd.txt the class numbers of the lists were not checked")
    return Annotations(joined, classes.label_set.name, remarks=tuple(remarks))


def _class_numbers(files: list[Path], classes: Classes) -> dict[int, str]:
    numbers: dict[int, str] = {}
    for source in files:
        for line, text in enumerate(read_lines(source), 1):
            if not text.strip():
                continue
            number, _, name = text.strip().partition(" ")
            if not (number.isdecimal() and name.strip()):
                expected = "a class number and a name, such as '1 ApplyEyeMakeup'"
                raise DataError(
                    "not a class", where=place(source, line), found=repr(text), expected=expected
                )
            if int(number) in numbers:
                raise DataError(
                    f"the class number {number} stands twice", where=place(source, line)
                )
            numbers[int(number)] = classes.official(name.strip(), source, line)
    return numbers


def _parse(
    text: str, source: Path, line: int, train: bool, classes: Classes, numbers: dict[int, str]
) -> tuple[str, str]:
    """The listed path and the official class of a line."""
    where = place(source, line)
    match = _LINE.fullmatch(text)
    file = inside(match["path"], where) if match else ""
    folders = file.split("/")[:-1]
    if match is None or not folders or (train and match["number"] is None):
        expected = "CLASS/VIDEO.avi" + (" NUMBER" if train else "")
        raise DataError("not a line of this list", where=where, found=repr(text), expected=expected)
    name = classes.official(folders[-1], source, line)
    if match["number"] is not None and numbers and numbers.get(int(match["number"])) != name:
        raise DataError(
            f"the class number {match['number']} is not that of the folder {folders[-1]!r}",
            where=where,
            expected=numbers.get(int(match["number"]), "a number of classInd.txt"),
        )
    return file, name
