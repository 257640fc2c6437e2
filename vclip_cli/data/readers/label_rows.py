"""A CSV with one row for each video and label, or a folder of such files named after their splits.

The header names the columns: `video` (or `path`, `file`), `label` (or `class`), maybe `split`. A
video without labels has one row with an empty label.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import Annotations, list_file
from vclip_cli.data.video_list import read_video_list

TITLE = "CSV with a row for each video and label: `video,label`"
LABEL_SET = None
GENERIC = True


def detects(path: Path) -> bool:
    """CSV files with the column `label` in which a video has rows with different labels."""
    files = (
        [path]
        if path.is_file()
        else list(list_file.list_files(path).values())
        if path.is_dir()
        else []
    )
    return any(_repeats_videos(file) for file in files if file.suffix.lower() == ".csv")


def _repeats_videos(file: Path) -> bool:
    try:
        listed = read_video_list(file)
    except DataError:
        return False
    first: dict[str, tuple[str, ...]] = {}
    return "label" in listed.header and any(
        first.setdefault(entry.path, entry.labels) != entry.labels for entry in listed.entries
    )


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """The rows of the file or files; a video and label that appear twice count once.

    Raises DataError with file and line.
    """
    annotations = list_file.read(path, label_set, multi_label=True)
    rows = annotations.rows
    labelled = set(rows.loc[rows["class"] != "", "video"])
    superfluous = (rows["class"] == "") & rows["video"].isin(labelled)
    return replace(annotations, rows=rows[~superfluous].reset_index(drop=True))
