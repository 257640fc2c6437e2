"""Importing a list of videos from elsewhere: its videos are found in the manifest by file name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
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

    labels_file: names the classes behind the list's numbers. The dataset's classes are kept; where
    the list's labels differ, a remark says so with counts. subset: the label set's subset of
    classes that the list is about. Raises DataError with file and line for a broken list, for
    videos that are not in the dataset or stand twice, and for classes outside the subset.
    """
    listed = read_video_list(list_file)
    ids = match_videos(dataset, listed)
    rows = rows_in_order(dataset.manifest.rows, ids)
    remarks = _compare_labels(dataset, listed, ids, rows, labels_file)
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


class _Names:
    """The ids of a manifest by all the names that a list may use; None where several share one."""

    def __init__(self, rows: pd.DataFrame) -> None:
        firsts = rows.drop_duplicates("video")
        self.ids = firsts["video"].tolist()
        self.known = frozenset(self.ids)
        self.paths = firsts["path"].tolist()

    def _index(self, keys: Sequence[str]) -> dict[str, str | None]:
        index: dict[str, str | None] = {}
        for key, video in zip(keys, self.ids, strict=True):
            if key:
                index[key] = None if index.get(key, video) != video else video
        return index

    @cached_property
    def by_path(self) -> dict[str, str | None]:
        return self._index([without_ending(path) for path in self.paths])

    @cached_property
    def by_stem(self) -> dict[str, str | None]:
        return self._index([video_stem(video) for video in self.ids])

    @cached_property
    def by_untimed_stem(self) -> dict[str, str | None]:
        """Only of names that carry the times of a Kinetics video."""
        stems = [video_stem(video) for video in self.ids]
        plain = [without_times(stem) for stem in stems]
        return self._index([p if p != s else "" for p, s in zip(plain, stems, strict=True)])

    def find(self, path: str) -> str | None:
        """The id that a listed path means, by the best name that decides it."""
        plain, stem = without_ending(path), video_stem(path)
        if plain in self.known:
            return plain
        if (found := self.by_path.get(plain) or self.by_stem.get(stem)) is not None:
            return found
        untimed = without_times(stem)
        found = self.by_untimed_stem.get(stem)
        return found or (self.by_stem.get(untimed) if stem != untimed else None)


def match_videos(dataset: Dataset, listed: VideoList) -> list[str]:
    """The id of every entry.

    A table of a multi-label dataset may have several rows of a video. Raises DataError with file
    and line for a video that is not in the dataset, and for one that stands twice elsewhere.
    """
    names = _Names(dataset.manifest.rows)
    several_rows = bool(listed.header) and dataset.manifest.multi_label
    unknown: list[ListEntry] = []
    ids: list[str] = []
    lines: dict[str, int] = {}
    for entry in listed.entries:
        video = names.find(entry.path)
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
        raise DataError(
            f"{len(unknown):,} of {len(listed.entries):,} videos of the list are not in the dataset"
            f" {dataset.config.name!r}, or fit several of its videos",
            where=f"{listed.path}:{unknown[0].line}",
            found=examples([repr(entry.path) for entry in unknown]),
            expected=f"file names such as {dataset.manifest.rows['video'].iloc[0]!r}",
        )
    return ids


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
            f"{len(mixed)} label numbers of the list stand for several classes (such as {mixed[0]}:"
            f" {such}); the dataset's own class is kept"
        )
    return remarks
