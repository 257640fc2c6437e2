"""Kinetics-400 and Kinetics-600: train.csv, val.csv (validate.csv, validation.csv) and test.csv.

The header is `label,youtube_id,time_start,time_end,split`, in older copies with `is_cc` at the end;
a test file may lack the labels. A video's id is `<youtube_id>_<start>_<end>`, six digits each.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import (
    Classes,
    beginning,
    count_remarks,
    join_splits,
    official_files,
    read_csv,
    refuse_rows,
    require_files,
    require_videos,
)

TITLE = "Kinetics-400 and Kinetics-600 CSV files"
LABEL_SET = None
_LABEL_SETS = ("kinetics400", "kinetics600")

_FILES = (
    r"(?:k(?:inetics)?[-_]?[46]00[-_]|kinetics[-_])?"
    r"(?P<split>train|val|validate|validation|test)\.csv"
)
_SUBFOLDERS = ("annotations",)
_COLUMNS = ("youtube_id", "time_start", "time_end")
_ORDER = ("train", "validation", "test")
_SPLITS = {
    "train": "train",
    "val": "validation",
    "validate": "validation",
    "validation": "validation",
    "test": "test",
}


def detects(path: Path) -> bool:
    """Whether CSV files of these names lie here, and the first has the columns of Kinetics."""
    header, *_ = beginning((_files(path) or [path])[0]).lower().partition("\n")
    return all(name in header for name in _COLUMNS)


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The files that are there, in the order train, validation, test.

    Without a label set, Kinetics-400 or Kinetics-600 is taken: the one that knows more of the
    labels. Raises DataError.
    """
    files = require_files(_files(path), path, "Kinetics", "train.csv, val.csv, test.csv")
    listed = pd.concat([_read_file(file) for file in files], ignore_index=True)
    listed = require_videos(listed, path)
    first = listed.drop_duplicates("class")
    if label_set is None:
        label_set = _closest(set(first["class"]), path)
    classes = Classes(label_set)
    official = {"": ""}
    for label, source, line in zip(first["class"], first["source"], first["line"], strict=True):
        if label:
            official[label] = classes.official(label, source, line)
    listed["class"] = listed["class"].map(official)
    rows, remarks = join_splits(listed)
    remarks += count_remarks(listed, dict.fromkeys(_ORDER, None))
    if unlabelled := int((rows["class"] == "").sum()):
        remarks.append(f"{unlabelled:,} videos are listed without a label")
    return Annotations(rows, label_set.name, remarks=tuple(remarks))


def _files(path: Path) -> list[Path]:
    """The files to read, in the order train, validation, test; a single one may have any name."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".csv" else []
    files = official_files(path, _FILES, _SUBFOLDERS)
    return sorted(files, key=lambda file: _ORDER.index(_split_of(file) or "test"))


def _split_of(file: Path) -> str | None:
    match = re.fullmatch(_FILES, file.name)
    return _SPLITS[match["split"]] if match else None


def _closest(labels: set[str], path: Path) -> LabelSet:
    """The label set that lacks the fewest labels; the path's `600` decides where both lack none."""
    candidates = [load_label_set(name) for name in _LABEL_SETS]
    if "600" in "".join(path.resolve().parts[-2:]):
        candidates.reverse()
    return min(candidates, key=lambda candidate: len(labels - {"", *candidate.names}))


def _read_file(source: Path) -> pd.DataFrame:
    split_of_name = _split_of(source)
    required = _COLUMNS if split_of_name else (*_COLUMNS, "split")
    table = read_csv(source, required, ("label", "split") if split_of_name else ("label",))
    table["source"] = str(source)
    ids = table["youtube_id"].str.strip()
    refuse_rows(
        table,
        ~ids.str.fullmatch(r"[A-Za-z0-9_-]+"),
        "not a YouTube id",
        "letters, digits, - and _",
        "youtube_id",
    )
    start, end = (_seconds(table, name) for name in ("time_start", "time_end"))
    table["video"] = table["file"] = ids + "_" + start + "_" + end
    table["class"] = table["label"].str.strip() if "label" in table else ""
    if "split" in table:
        split = table["split"].str.strip().str.lower().map(_SPLITS)
        refuse_rows(table, split.isna(), "unknown split", ", ".join(_SPLITS), "split")
        table["split"] = split
    else:
        table["split"] = split_of_name
    return table.drop(columns=[*_COLUMNS, "label"], errors="ignore")


def _seconds(table: pd.DataFrame, column: str) -> pd.Series:
    """Whole seconds as six digits; `59` and `59.0` are the same."""
    digits = table[column].str.strip().str.replace(r"\.0+$", "", regex=True)
    wrong = ~digits.str.fullmatch(r"[0-9]+")
    refuse_rows(table, wrong, f"{column} is no time", "whole seconds", column)
    return digits.str.zfill(6)
