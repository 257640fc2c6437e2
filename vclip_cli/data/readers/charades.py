"""Charades: Charades_v1_train.csv, Charades_v1_test.csv and Charades_v1_classes.txt.

A video has several actions, `c092 11.90 21.20;c147 0.00 12.60`, or none: it has one row per class,
or one row without a class.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.data.annotation_files import inside, read_lines
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.data.readers._listing import (
    Classes,
    count_remarks,
    label_set_or,
    official_files,
    place,
    read_csv,
    require_files,
    require_videos,
)

TITLE = "Charades CSV files"
LABEL_SET = "charades"

_FILES = r"Charades_v1_(train|test)\.csv"
_CLASSES = r"Charades_v1_classes\.txt"
_SUBFOLDERS = ("Charades",)
_OFFICIAL = {"train": 7985, "test": 1863}


def detects(path: Path) -> bool:
    """Whether the official files lie here, by their names."""
    return bool(official_files(path, _FILES, _SUBFOLDERS))


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The files that are there, train first; a class that a video repeats counts once.

    The codes c000, c001, … mean what Charades_v1_classes.txt says, and without that file the
    classes of the label set in order. Raises DataError.
    """
    files = require_files(
        official_files(path, _FILES, _SUBFOLDERS), path, "Charades", "Charades_v1_train.csv, …"
    )
    classes = Classes(label_set_or(label_set, LABEL_SET))
    codes = _codes(official_files(files[0].parent, _CLASSES), classes)
    rows: list[tuple[str, str, str, str]] = []
    listed: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    repeating = without = 0
    for source in sorted(files, reverse=True):
        split = source.stem.rpartition("_")[2]
        table = read_csv(source, ("id", "actions"))
        for video, actions, line in zip(table["id"], table["actions"], table["line"], strict=True):
            where = place(source, line)
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
            listed.append((video, split))
    videos = require_videos(pd.DataFrame(listed, columns=["video", "split"]), path)
    remarks = count_remarks(videos, _OFFICIAL)
    if without:
        remarks.append(f"{without:,} videos have no action")
    if repeating:
        remarks.append(f"{repeating:,} videos repeat a class, which counts once")
    return Annotations(
        pd.DataFrame(rows, columns=list(COLUMNS), dtype="str"),
        classes.label_set.name,
        multi_label=True,
        remarks=tuple(remarks),
    )


def _codes(files: list[Path], classes: Classes) -> dict[str, str]:
    """Code to official class name."""
    if not files:
        return {f"c{index:03d}": name for index, name in enumerate(classes.label_set.names)}
    codes: dict[str, str] = {}
    for source in files:
        for line, text in enumerate(read_lines(source), 1):
            if not text.strip():
                continue
            code, _, name = text.strip().partition(" ")
            if not name or code in codes:
                raise DataError(
                    f"the code {code!r} stands twice" if code in codes else "not a class",
                    where=place(source, line),
                    found=repr(text),
                    expected="a code and a name, such as 'c000 Holding some clothes'",
                )
            codes[code] = classes.official(name.strip(), source, line)
    return codes


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
