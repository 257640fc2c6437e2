"""UCF101: classInd.txt, trainlist01.txt to testlist03.txt (the official recognition splits).

The class is the listed folder, never the file's name: `HandstandPushups/v_HandStandPushups_…`.
"""

from __future__ import annotations

import re
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import inside, numbered_lines
from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import (
    OfficialFiles,
    Row,
    numbered_classes,
    official_annotations,
)
from vclip_cli.data.videos_on_disk import video_stem

TITLE = "UCF101 recognition splits"
LABEL_SET = "ucf101"

_FILES = OfficialFiles(
    "UCF101",
    r"(train|test)list0([123])\.txt",
    "trainlist01.txt, testlist01.txt, …",
    ("ucfTrainTestlist",),
)
_CLASSES = r"classInd\.txt"
_LINE = re.compile(r"(?P<path>\S.*\.\w+)(?:\s+(?P<number>\d+))?")
_OFFICIAL = {
    "train-1": 9537, "test-1": 3783, "train-2": 9586,
    "test-2": 3734, "train-3": 9624, "test-3": 3696,
}  # fmt: skip


def detects(path: Path) -> bool:
    """Whether the official lists are here, by their names."""
    return bool(_FILES.find(path) or _FILES.find(path, _CLASSES))


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The lists that are there, trainlist01 first; a test list may carry class numbers too.

    Raises DataError, also where a class number of a list differs from classInd.txt.
    """
    lists = _FILES.require(path)
    label_set = label_set or load_label_set(LABEL_SET)
    index = _FILES.find(lists[0].parent, _CLASSES)
    named = numbered_classes(index, label_set, "class number", r"\d+", "1 ApplyEyeMakeup")
    numbers = {int(number): name for number, name in named.items()}
    rows: list[Row] = []
    for source in sorted(lists, key=lambda file: (file.stem[-1], file.stem.startswith("test"))):
        kind, number = source.stem.split("list0")
        for line, text in numbered_lines(source):
            file, name = _parse(text, f"{source}:{line}", kind == "train", label_set, numbers)
            rows.append((video_stem(file), file, name, f"{kind}-{number}", str(source), line))
    remarks = []
    if not numbers:
        remarks = ["without classInd.txt the class numbers of the lists were not checked"]
    return official_annotations(rows, path, label_set, _OFFICIAL, remarks)


def _parse(
    text: str, where: str, train: bool, label_set: LabelSet, numbers: dict[int, str]
) -> tuple[str, str]:
    """The listed path and the official class of a line."""
    match = _LINE.fullmatch(text)
    file = inside(match["path"], where) if match else ""
    folders = file.split("/")[:-1]
    if match is None or not folders or (train and match["number"] is None):
        expected = "CLASS/VIDEO.avi" + (" NUMBER" if train else "")
        raise DataError("not a line of this list", where=where, found=repr(text), expected=expected)
    name = label_set.resolve(folders[-1], where)
    if match["number"] is not None and numbers and numbers.get(int(match["number"])) != name:
        raise DataError(
            f"the class number {match['number']} is not that of the folder {folders[-1]!r}",
            where=where,
            expected=numbers.get(int(match["number"]), "a number of classInd.txt"),
        )
    return file, name
