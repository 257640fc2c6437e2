"""HMDB51: one file per class and split, CLASS_test_split1.txt to CLASS_test_split3.txt.

A line is a file's name and 1 (train), 2 (test) or 0 (not used in this split). The names hold
`# & ( ! ; = [ ]`: none of them begins a comment, and none is ever used as a pattern.
"""

from __future__ import annotations

import re
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import inside, numbered_lines
from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import OfficialFiles, Row, official_annotations
from vclip_cli.data.videos_on_disk import video_stem

TITLE = "HMDB51 train and test splits"
LABEL_SET = "hmdb51"

_FILES = OfficialFiles(
    "HMDB51",
    r"(?P<name>.+)_test_split(?P<split>[123])\.txt",
    "CLASS_test_split1.txt, …",
    ("testTrainMulti_7030_splits", "test_train_splits/testTrainMulti_7030_splits"),
)
_LINE = re.compile(r"(?P<file>\S.*\.\w+)\s+(?P<code>[012])")
_SPLITS = {"0": "unused", "1": "train", "2": "test"}
_OFFICIAL: dict[str, int | None] = {
    f"{kind}-{number}": count
    for number in (1, 2, 3)
    for kind, count in (("train", 3570), ("test", 1530), ("unused", 1666))
}


def detects(path: Path) -> bool:
    """Whether the official files are here, by their names."""
    return bool(_FILES.find(path))


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The files that are there: classes in official order, the lines of a class in file order.

    Raises DataError.
    """
    label_set = label_set or load_label_set(LABEL_SET)
    order = {name: index for index, name in enumerate(label_set.names)}
    parts: list[tuple[int, str, str, Path]] = []
    for source in _FILES.require(path):
        name = label_set.resolve(_FILES.part(source, "name"), str(source))
        parts.append((order[name], _FILES.part(source), name, source))
    rows: list[Row] = []
    for _, number, name, source in sorted(parts):
        for line, text in numbered_lines(source):
            file, kind = _parse(text, f"{source}:{line}")
            rows.append((video_stem(file), file, name, f"{kind}-{number}", str(source), line))
    found = {name for _, _, name, _ in parts}
    absent = [name for name in order if name not in found]
    remarks = [f"no list of {len(absent)} classes, such as {absent[0]!r}"] if absent else []
    return official_annotations(rows, path, label_set, _OFFICIAL, remarks)


def _parse(text: str, where: str) -> tuple[str, str]:
    match = _LINE.fullmatch(text)
    if match is None:
        expected = "VIDEO.avi and 0, 1 or 2"
        raise DataError("not a line of this list", where=where, found=repr(text), expected=expected)
    return inside(match["file"], where), _SPLITS[match["code"]]
