"""Importing somebody's list: its videos are found in the manifest by file name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_file
from vclip_cli.data.annotation_files import read_class_names
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.readers.list_file import class_behind
from vclip_cli.data.selection import build_split
from vclip_cli.data.split import ImportedFile, ProtocolReference, Rule, Split
from vclip_cli.data.video_list import ListEntry, VideoList, read_video_list
from vclip_cli.data.videos_on_disk import video_stem, without_ending, without_times

_SHOWN = 3


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

    labels_file: names the classes behind the list's numbers. Labels never overrule the dataset's:
    where they differ, that is remarked with counts. subset: the label set's subset of classes that
    the list is about. Raises DataError with file and line for a broken list, for videos that are
    not in the dataset or stand twice, and for classes outside the subset.
    """
    listed = read_video_list(list_file)
    ids = match_videos(dataset, listed)
    rows = _rows_in_order(dataset.manifest.rows, ids)
    remarks = _compare_labels(dataset, listed, ids, rows, labels_file)
    if subset is not None:
        _require_subset(dataset, subset, rows, list_file)
    imported = ImportedFile(
        file=list_file.name,
        sha256=sha256_file(list_file),
        labels_file=labels_file.name if labels_file else None,
        labels_sha256=sha256_file(labels_file) if labels_file else None,
    )
    return build_split(
        dataset,
        rows,
        Rule(name="imported", subset=subset),
        part,
        protocol=protocol,
        imported=imported,
        remarks=remarks,
    )


def _require_subset(dataset: Dataset, subset: str, rows: pd.DataFrame, list_file: Path) -> None:
    inside = set(dataset.label_set.subset(subset))
    outside = rows[~rows["class"].isin(inside)]
    if len(outside):
        raise DataError(
            f"{len(outside):,} of {len(rows):,} rows are of classes outside the subset {subset!r}",
            where=str(list_file),
            found=f"{outside['video'].iloc[0]!r}, which is {outside['class'].iloc[0]!r}",
        )


@dataclass(frozen=True)
class _Names:
    """The ids of a manifest by all the names that a list may use; None where several share one."""

    ids: frozenset[str]
    by_path: dict[str, str | None]
    by_stem: dict[str, str | None]
    by_clip: dict[str, str | None]

    def find(self, path: str) -> list[str | None]:
        """What the path may mean, best first."""
        plain = without_ending(path)
        stem = video_stem(path)
        if plain in self.ids:
            return [plain]
        found = [self.by_path.get(plain), self.by_stem.get(stem), self.by_clip.get(stem)]
        if stem != without_times(stem):
            found.append(self.by_stem.get(without_times(stem)))
        return found


def _names(rows: pd.DataFrame) -> _Names:
    firsts = rows.drop_duplicates("video")
    by_path: dict[str, str | None] = {}
    by_stem: dict[str, str | None] = {}
    by_clip: dict[str, str | None] = {}

    def note(index: dict[str, str | None], key: str, video: str) -> None:
        index[key] = None if index.get(key, video) != video else video

    for video, path in zip(firsts["video"].tolist(), firsts["path"].tolist(), strict=True):
        if path:
            note(by_path, without_ending(path), video)
        stem = video_stem(video)
        note(by_stem, stem, video)
        if stem != without_times(stem):
            note(by_clip, without_times(stem), video)
    return _Names(frozenset(firsts["video"].tolist()), by_path, by_stem, by_clip)


def match_videos(dataset: Dataset, listed: VideoList) -> list[str]:
    """The id of every entry; an entry that repeats a table's video and is another label is once."""
    names = _names(dataset.manifest.rows)
    several_rows = listed.tabular and dataset.manifest.multi_label
    unknown: list[ListEntry] = []
    ids: list[str] = []
    lines: dict[str, int] = {}
    for entry in listed.entries:
        video = next((found for found in names.find(entry.path) if found is not None), None)
        if video is None:
            unknown.append(entry)
            continue
        if video in lines and not several_rows:
            raise DataError(
                f"the video {video!r} stands twice",
                where=f"{listed.path}:{entry.line}",
                found=f"first in line {lines[video]}",
            )
        lines.setdefault(video, entry.line)
        ids.append(video)
    if unknown:
        shown = ", ".join(repr(entry.path) for entry in unknown[:_SHOWN])
        raise DataError(
            f"{len(unknown):,} of {len(listed.entries):,} videos of the list are not in the dataset"
            f" {dataset.config.name!r}, or fit several of its videos",
            where=f"{listed.path}:{unknown[0].line}",
            found=shown + (", …" if len(unknown) > _SHOWN else ""),
            expected=f"file names such as {dataset.manifest.rows['video'].iloc[0]!r}",
        )
    return ids


def _rows_in_order(rows: pd.DataFrame, ids: Sequence[str]) -> pd.DataFrame:
    rank = {video: position for position, video in enumerate(dict.fromkeys(ids))}
    kept = rows[rows["video"].isin(rank)]
    return kept.assign(rank=kept["video"].map(rank)).sort_values("rank", kind="stable")


def _compare_labels(
    dataset: Dataset,
    listed: VideoList,
    ids: Sequence[str],
    rows: pd.DataFrame,
    labels_file: Path | None,
) -> list[str]:
    """Remarks on labels that differ from the dataset's classes."""
    classes: dict[str, set[str]] = {}
    for video, name in zip(rows["video"], rows["class"], strict=True):
        classes.setdefault(video, set()).add(name)
    names = read_class_names(labels_file) if labels_file else None
    differing: list[str] = []
    meanings: dict[str, set[str]] = {}
    for entry, video in zip(listed.entries, ids, strict=True):
        for label in entry.labels:
            if label.isdecimal() and names is None and label not in dataset.label_set.names:
                if len(entry.labels) == 1 and len(classes[video]) == 1:
                    meanings.setdefault(str(int(label)), set()).update(classes[video])
                continue
            try:
                meant = class_behind(label, dataset.label_set, names)
            except DataError as error:
                raise DataError(
                    error.what,
                    where=f"{listed.path}:{entry.line}",
                    expected=error.expected,
                    hint=error.hint,
                ) from None
            if meant not in classes[video]:
                differing.append(f"{video!r} is {_one(classes[video])!r}, in the list {meant!r}")
    remarks = []
    if differing:
        remarks.append(
            f"{len(differing):,} videos have another class in the list ({differing[0]}); the"
            " dataset's own class is kept"
        )
    mixed = [label for label, found in meanings.items() if len(found) > 1]
    if mixed:
        remarks.append(
            f"{len(mixed)} label numbers of the list stand for several classes (such as {mixed[0]}:"
            f" {', '.join(sorted(meanings[mixed[0]])[:_SHOWN])}); the dataset's own class is kept"
        )
    return remarks


def _one(names: set[str]) -> str:
    return min(names)
