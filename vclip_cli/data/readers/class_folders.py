"""A folder of videos sorted into class folders: `<class>/<video>` or `<split>/<class>/<video>`."""

from __future__ import annotations

from collections import Counter
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


def detects(path: Path) -> bool:
    """A folder with at least one video in a subfolder."""
    return path.is_dir() and any("/" in video for video in scan_videos(path).paths)


def read(path: Path, label_set: LabelSet | None = None) -> Annotations:
    """Read the classes from the folders' names.

    The id of a video is its path without the ending; the ending stays where two files differ in
    nothing else. Raises DataError when no video is in a class folder, or for an unknown class.
    """
    paths = scan_videos(path).paths
    filed = [video for video in paths if "/" in video]
    if not filed:
        raise DataError(
            "no video is in a class folder",
            where=str(path),
            found=f"{len(paths)} videos directly in it",
            expected="<class>/<video>",
            hint="sort the videos into class folders, or give a list with --annotations",
        )
    by_split = all(split_name(video.split("/")[0]) and video.count("/") > 1 for video in filed)
    stems = Counter(without_ending(video) for video in filed)
    rows = []
    for video in filed:
        parts = video.split("/")
        folder = parts[1] if by_split else parts[0]
        name = label_set.resolve(folder, f"{path}/{folder}") if label_set else folder
        stem = without_ending(video)
        split = split_name(parts[0]) if by_split else "all"
        rows.append((stem if stems[stem] == 1 else video, video, name, split))
    remarks: tuple[str, ...] = ()
    if loose := len(paths) - len(filed):
        remarks = (f"left out, as they are in no class folder: {loose:,}",)
    return Annotations(pd.DataFrame(rows, columns=list(COLUMNS), dtype=str), None, False, remarks)
