"""HMDB51: one file per class and split, CLASS_test_split1.txt to CLASS_test_split3.txt.

A line is a file's name and 1 (train), 2 (test) or 0 (not used in this split). The names hold
`# & ( ! ; = [ ]`: none of them begins a comment, and none is ever used as a pattern.
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

TITLE = "HMDB51 train and test splits"
LABEL_SET = "hmdb51"

_FILES = r"(?P<name>.+)_test_split(?P<number>[123])\.txt"
_SUBFOLDERS = ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits")
_LINE = re.compile(r"(?P<file>\S.*\.\w+)\s+(?P<code>[012])")
_SPLITS = {"0": "unused", "1": "train", "2": "test"}
_OFFICIAL: dict[str, int | None] = {
    f"{kind}-{number}": count
    for number in (1, 2, 3)
    for kind, count in (("train", 3570), ("test", 1530), ("unused", 1666))
}


def detects(path: Path) -> bool:
    """Whether the official files lie here, by their names."""
    return bool(official_files(path, _FILES, _SUBFOLDERS))


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The files that are there: classes in official order, the lines of a class in file order.

    Raises DataError.
    """
    files = require_files(
        official_files(path, _FILES, _SUBFOLDERS), path, "HMDB51", "CLASS_test_split1.txt, …"
    )
    classes = Classes(label_set_or(label_set, LABEL_SET))
    order = {name: index for index, name in enumerate(classes.label_set.names)}
    parts: list[tuple[int, str, str, Path]] = []
    for source in files:
        match = re.fullmatch(_FILES, source.name)
        assert match is not None  # the file was found by this pattern
        name = classes.official(match["name"], source)
        parts.append((order[name], match["number"], name, source))
    rows: list[tuple[str, str, str, str, str, int]] = []
    for _, number, name, source in sorted(parts):
        for line, text in enumerate(read_lines(source), 1):
            if text.strip():
                file, kind = _parse(text.strip(), place(source, line))
                rows.append((video_stem(file), file, name, f"{kind}-{number}", str(source), line))
    listed = require_videos(pd.DataFrame(rows, columns=list(LISTED)), path)
    joined, remarks = join_splits(listed)
    remarks += count_remarks(listed, _OFFICIAL)
    found = {name for _, _, name, _ in parts}
    if absent := [name for name in order if name not in found]:
        remarks.append(f"no list of {len(absent)} classes, such as {absent[0]!r}")
    return Annotations(joined, classes.label_set.name, remarks=tuple(remarks))


def _parse(text: str, where: str) -> tuple[str, str]:
    match = _LINE.fullmatch(text)
    if match is None:
        expected = "VIDEO.avi and 0, 1 or 2"
        raise DataError("not a line of this list", where=where, found=repr(text), expected=expected)
    return inside(match["file"], where), _SPLITS[match["code"]]
