"""Charades: Charades_v1_train.csv, Charades_v1_test.csv and Charades_v1_classes.txt.

A video has several actions, `c092 11.90 21.20;c147 0.00 12.60`, or none: it has one row per class,
or one row without a class.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.data.annotation_files import inside
from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.data.readers._listing import (
    OfficialFiles,
    count_remarks,
    numbered_classes,
    read_csv,
    require_videos,
)

TITLE = "Charades CSV files"
LABEL_SET = "charades"

_FILES = OfficialFiles(
    "Charades",
    r"Charades_v1_(?P<split>train|test)\.csv",
    "Charades_v1_train.csv, …",
    ("Charades",),
)
_CLASSES = r"Charades_v1_classes\.txt"
_OFFICIAL = {"train": 7985, "test": 1863}


def detects(path: Path) -> bool:
    """Whether the official files are here, by their names."""
    return bool(_FILES.find(path))


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The files that are there, train first; a class that a video repeats counts once.

    The codes c000, c001, … mean what Charades_v1_classes.txt says, and without that file the
    classes of the label set in order. Raises DataError.
    """
    files = _FILES.require(path)
    label_set = label_set or load_label_set(LABEL_SET)
    index = _FILES.find(files[0].parent, _CLASSES)
    codes = numbered_classes(index, label_set, "code", r"\S+", "c000 Holding some clothes")
    if not codes:
        codes = {f"c{index:03d}": name for index, name in enumerate(label_set.names)}
    rows: list[tuple[str, str, str, str]] = []
    seen: dict[str, str] = {}
    repeating = without = 0
    for source in sorted(files, reverse=True):
        split = _FILES.part(source)
        table = read_csv(source, ("id", "actions"))
        for video, actions, line in zip(table["id"], table["actions"], table["line"], strict=True):
            where = f"{source}:{line}"
            video = inside(video.strip(), where)
            if video in seen:
                found = f"first in {seen[video]}"
                raise DataError(f"the video {video!r} is listed twice", where=where, found=found)
            seen[video] = where
            names = _actions(actions, codes, where)
            once = list(dict.fromkeys(names)) or [""]
            repeating += len(once) < len(names)
            without += not names
            rows.extend((video, video, name, split) for name in once)
    listed = require_videos(pd.DataFrame(rows, columns=list(COLUMNS), dtype="str"), path)
    remarks = count_remarks(listed.rename(columns={"splits": "split"}), _OFFICIAL)
    if without:
        remarks.append(f"{without:,} videos have no action")
    if repeating:
        remarks.append(f"{repeating:,} videos repeat a class, which counts once")
    return Annotations(listed, label_set.name, multi_label=True, remarks=tuple(remarks))


def _actions(text: str, codes: dict[str, str], where: str) -> list[str]:
    names = []
    for action in text.split(";") if text.strip() else ():
        code, *times = action.split() or [""]
        if len(times) != 2:
            expected = "CODE START END, such as c092 11.90 21.20"
            raise DataError("not an action", where=where, found=repr(action), expected=expected)
        if code not in codes:
            hint = did_you_mean(code, codes)
            raise DataError(f"unknown action code {code!r}", where=where, hint=hint)
        names.append(codes[code])
    return names
