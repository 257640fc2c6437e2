"""Importing a list of videos from elsewhere: its videos are found in the manifest by file name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, examples
from vclip_cli.common.files import sha256_file
from vclip_cli.data.annotation_files import read_class_names
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.draws import rows_in_order
from vclip_cli.data.readers.list_file import class_behind
from vclip_cli.data.split import ImportedFile, ProtocolReference, Rule, Split, build_split
from vclip_cli.data.video_list import ListEntry, VideoList, read_video_list
from vclip_cli.data.videos_on_disk import video_stem, without_ending, without_times


def import_split(
    dataset: Dataset,
    list_file: Path,
    *,
    labels_file: Path | None = None,
    part: str = "train",
    subset: str | None = None,
    protocol: ProtocolReference | None = None,
) -> Split:
    """A split of the videos of a list, in its order, each with the dataset's own class.

    labels_file: maps the list's class numbers to names. The dataset's classes are kept; a remark
    counts labels of the list that differ. subset: the label set's subset of classes that the list
    covers. Raises DataError with file and line for a broken list, for videos that are not in the
    dataset or appear twice, and for classes outside the subset.
    """
    listed = read_video_list(list_file)
    ids = match_videos(dataset, listed)
    rows = rows_in_order(dataset.manifest.rows, ids)
    remarks = _compare_labels(dataset, listed, ids, labels_file)
    if subset is not None:
        outside = rows[~rows["class"].isin(set(dataset.label_set.subset(subset)))]
        if len(outside):
            raise DataError(
                f"{len(outside):,} of {len(rows):,} rows are of classes outside the subset"
                f" {subset!r}",
                where=str(list_file),
                found=f"{outside['video'].iloc[0]!r}, which is {outside['class'].iloc[0]!r}",
            )
    imported = ImportedFile(
        file=list_file.name,
        sha256=sha256_file(list_file),
        labels_file=labels_file.name if labels_file else None,
        labels_sha256=sha256_file(labels_file) if labels_file else None,
    )
    rule = Rule(name="imported", subset=subset)
    return build_split(
        dataset, rows, rule, part, protocol=protocol, imported=imported, remarks=remarks
    )


def _index(rows: pd.DataFrame) -> dict[tuple[str, str], str | None]:
    """The ids of a manifest by every name that a list may use; None where several share a name.

    A key is a kind of name and the name: the `id`, the `path` on disk, the file name (`stem`), or a
    Kinetics file name without its times (`untimed`).
    """
    index: dict[tuple[str, str], str | None] = {}
    firsts = rows.drop_duplicates("video")
    for video, path in zip(firsts["video"].tolist(), firsts["path"].tolist(), strict=True):
        stem = video_stem(video)
        keys = [("id", video), ("stem", stem), ("path", without_ending(path))]
        if (untimed := without_times(stem)) != stem:
            keys.append(("untimed", untimed))
        for key in keys:
            index[key] = None if index.get(key, video) != video else video
    return index


def _find(path: str, index: dict[tuple[str, str], str | None]) -> str | None:
    """The id of a listed path, by the first kind of name that gives a unique video."""
    plain, stem = without_ending(path), video_stem(path)
    kinds = (("id", plain), ("path", plain), ("stem", stem), ("untimed", stem))
    keys = (*kinds, ("stem", without_times(stem)))
    return next((found for key in keys if (found := index.get(key)) is not None), None)


def match_videos(dataset: Dataset, listed: VideoList) -> list[str]:
    """The id of every entry.

    A table of a multi-label dataset may have several rows of a video. Raises DataError with file
    and line for a video that is not in the dataset, and for one that appears twice elsewhere.
    """
    index = _index(dataset.manifest.rows)
    several_rows = bool(listed.header) and dataset.manifest.multi_label
    unknown: list[ListEntry] = []
    ids: list[str] = []
    lines: dict[str, int] = {}
    for entry in listed.entries:
        video = _find(entry.path, index)
        if video is None:
            unknown.append(entry)
            continue
        if video in lines and not several_rows:
            raise DataError(
                f"the video {video!r} appears twice",
                where=f"{listed.path}:{entry.line}",
                found=f"first in line {lines[video]}",
            )
        lines.setdefault(video, entry.line)
        ids.append(video)
    if unknown:
        raise DataError(
            f"{len(unknown):,} of {len(listed.entries):,} videos of the list are not in the dataset"
            f" {dataset.config.name!r}, or fit several of its videos",
            where=f"{listed.path}:{unknown[0].line}",
            found=examples([repr(entry.path) for entry in unknown]),
            expected=f"file names such as {dataset.manifest.rows['video'].iloc[0]!r}",
        )
    return ids


def _compare_labels(
    dataset: Dataset, listed: VideoList, ids: Sequence[str], labels_file: Path | None
) -> list[str]:
    """Remarks on labels that differ from the dataset's classes."""
    rows, classes = dataset.manifest.rows, dict[str, set[str]]()
    for video, name in zip(rows["video"], rows["class"], strict=True):
        classes.setdefault(video, set()).add(name)
    names = read_class_names(labels_file) if labels_file else None
    differing: list[str] = []
    meanings: dict[str, set[str]] = {}
    for entry, video in zip(listed.entries, ids, strict=True):
        own = classes[video]
        for label in entry.labels:
            if label.isdecimal() and names is None and label not in dataset.label_set.names:
                if len(entry.labels) == 1 and len(own) == 1:
                    meanings.setdefault(str(int(label)), set()).update(own)
                continue
            where = f"{listed.path}:{entry.line}"
            meant = class_behind(label, dataset.label_set, names, where)
            if meant not in own:
                differing.append(f"{video!r} is {min(own)!r}, in the list {meant!r}")
    remarks = []
    if differing:
        remarks.append(
            f"{len(differing):,} videos have another class in the list ({differing[0]}); the"
            " dataset's own class is kept"
        )
    mixed = [label for label, found in meanings.items() if len(found) > 1]
    if mixed:
        such = ", ".join(sorted(meanings[mixed[0]])[:3])
        remarks.append(
            f"{len(mixed)} label numbers of the list mean several classes (such as {mixed[0]}:"
            f" {such}); the dataset's own class is kept"
        )
    return remarks
