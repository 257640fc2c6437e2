"""Kinetics-400 and Kinetics-600: train.csv, val.csv (validate.csv, validation.csv) and test.csv.

The header is `label,youtube_id,time_start,time_end,split`, in older copies with `is_cc` at the end;
a test file may lack the labels. A video's id is `<youtube_id>_<start>_<end>`, six digits each.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import Annotations
from vclip_cli.data.readers._listing import (
    OfficialFiles,
    beginning,
    official_annotations,
    read_csv,
    refuse_rows,
    require_videos,
)

TITLE = "Kinetics-400 and Kinetics-600 CSV files"
LABEL_SET = None
_LABEL_SETS = ("kinetics400", "kinetics600")

_FILES = OfficialFiles(
    "Kinetics",
    r"(?:k(?:inetics)?[-_]?[46]00[-_]|kinetics[-_])?"
    r"(?P<split>train|val|validate|validation|test)\.csv",
    "train.csv, val.csv, test.csv",
    ("annotations",),
)
_COLUMNS = ("youtube_id", "time_start", "time_end")
_SPLITS = {
    "train": "train", "val": "validation", "validate": "validation", "validation": "validation",
    "test": "test",
}  # fmt: skip
_ORDER = ("train", "validation", "test")


def detects(path: Path) -> bool:
    """Whether CSV files of these names are here, and the first has the columns of Kinetics."""
    header, *_ = beginning((_files(path) or [path])[0]).lower().partition("\n")
    return all(name in header for name in _COLUMNS)


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The files that are there, in the order train, validation, test.

    Without a label set, Kinetics-400 or Kinetics-600 is taken: the one that knows more of the
    labels. Raises DataError.
    """
    files = _files(path) or _FILES.require(path)
    listed = pd.concat([_read_file(file) for file in files], ignore_index=True)
    first = require_videos(listed, path).drop_duplicates("class")
    label_set = label_set or _closest(set(first["class"]), path)
    official = {"": ""}
    for label, source, line in zip(first["class"], first["source"], first["line"], strict=True):
        if label:
            official[label] = label_set.resolve(label, f"{source}:{line}")
    listed["class"] = listed["class"].map(official)
    unlabelled = int(listed.loc[listed["class"] == "", "video"].nunique())
    remarks = [f"{unlabelled:,} videos are listed without a label"] if unlabelled else []
    counts = dict.fromkeys(_ORDER, None)
    return official_annotations(listed, path, label_set, counts, remarks)


def _files(path: Path) -> list[Path]:
    """The files to read, in the order train, validation, test; a single one may have any name."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".csv" else []
    return sorted(_FILES.find(path), key=lambda file: _ORDER.index(_SPLITS[_FILES.part(file)]))


def _closest(labels: set[str], path: Path) -> LabelSet:
    """The label set that lacks the fewest labels; on a tie, `600` in the path decides."""
    candidates = [load_label_set(name) for name in _LABEL_SETS]
    if "600" in "".join(path.resolve().parts[-2:]):
        candidates.reverse()
    return min(candidates, key=lambda candidate: len(labels - {"", *candidate.names}))


def _read_file(source: Path) -> pd.DataFrame:
    split_of_name = _SPLITS.get(_FILES.part(source))
    required = _COLUMNS if split_of_name else (*_COLUMNS, "split")
    table = read_csv(source, required, ("label", "split") if split_of_name else ("label",))
    table["source"] = str(source)
    ids = table["youtube_id"].str.strip()
    wrong = ~ids.str.fullmatch(r"[A-Za-z0-9_-]+")
    refuse_rows(table, wrong, "not a YouTube id", "letters, digits, - and _", "youtube_id")
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
    refuse_rows(table, wrong, f"{column} is not a time", "whole seconds", column)
    return digits.str.zfill(6)
