"""A folder of videos sorted into class folders: `<class>/<video>` or `<split>/<class>/<video>`."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import split_name
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.data.videos_on_disk import scan_videos, without_ending

TITLE = "class folders: <class>/<video> or train|val|test/<class>/<video>"
LABEL_SET = None
GENERIC = True


def detects(folder_or_file: Path) -> bool:
    """A folder with at least one video in a subfolder."""
    if not folder_or_file.is_dir():
        return False
    return any("/" in path for path in scan_videos(folder_or_file).paths)


def read(folder_or_file: Path, label_set: LabelSet | None = None) -> Annotations:
    """Read the classes from the folders' names.

    The id of a video is its path without the ending; the ending stays where two files differ in
    nothing else. Raises DataError when no video lies in a class folder, or for an unknown class.
    """
    root = folder_or_file
    paths = scan_videos(root).paths
    filed = [path for path in paths if "/" in path]
    if not filed:
        raise DataError(
            "no video lies in a class folder",
            where=str(root),
            found=f"{len(paths)} videos directly in it",
            expected="<class>/<video>",
            hint="sort the videos into class folders, or give a list with --annotations",
        )
    by_split = all(split_name(path.split("/")[0]) and path.count("/") > 1 for path in filed)
    stems: dict[str, int] = {}
    for path in filed:
        stems[without_ending(path)] = stems.get(without_ending(path), 0) + 1
    resolved: dict[str, str] = {}
    rows = []
    for path in filed:
        parts = path.split("/")
        folder = parts[1] if by_split else parts[0]
        if folder not in resolved:
            resolved[folder] = _resolve(folder, label_set, root)
        stem = without_ending(path)
        split = split_name(parts[0]) if by_split else "all"
        rows.append((stem if stems[stem] == 1 else path, path, resolved[folder], split))
    remarks: tuple[str, ...] = ()
    if loose := len(paths) - len(filed):
        remarks = (f"left out, as they lie in no class folder: {loose:,}",)
    return Annotations(pd.DataFrame(rows, columns=list(COLUMNS), dtype=str), None, False, remarks)


def _resolve(folder: str, label_set: LabelSet | None, root: Path) -> str:
    if label_set is None:
        return folder
    try:
        return label_set.resolve(folder)
    except DataError as error:
        raise DataError(
            error.what, where=str(root / folder), expected=error.expected, hint=error.hint
        ) from None
