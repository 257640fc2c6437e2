"""`vclip data check`: what is missing, damaged, doubled or mislabelled in a registered dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_file
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.label_set import fold

Probe = Callable[[Sequence[Path]], Iterable[str | None]]


@dataclass(frozen=True)
class SplitCounts:
    """Videos of a split: listed, of these on disk, and classes."""

    listed: int
    present: int
    classes: int


@dataclass(frozen=True)
class CheckReport:
    """What a check found. Videos are named by id, files by relative path.

    duplicates: groups of paths with the same bytes. across_splits: those of them whose videos
    are in a training and in another split of the same number. unreadable: path to reason.
    mislabelled: path to (listed class, the class that its folder is named after).
    """

    dataset: str
    videos: int
    splits: dict[str, SplitCounts]
    absent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    duplicates: tuple[tuple[str, ...], ...] = ()
    across_splits: tuple[tuple[str, ...], ...] = ()
    mislabelled: dict[str, tuple[str, str]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every listed video is there and can be read."""
        return not (self.absent or self.empty or self.unreadable)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "dataset": self.dataset,
            "sound": self.sound,
            "videos": self.videos,
            "splits": {name: vars(counts) for name, counts in self.splits.items()},
            "absent": list(self.absent),
            "unlisted": list(self.unlisted),
            "empty": list(self.empty),
            "unreadable": self.unreadable,
            "duplicates": [list(group) for group in self.duplicates],
            "duplicates_across_splits": [list(group) for group in self.across_splits],
            "mislabelled": {
                path: {"listed": listed, "folder": folder}
                for path, (listed, folder) in self.mislabelled.items()
            },
            "remarks": list(self.remarks),
        }


def check_dataset(
    dataset: Dataset, probe: Probe, *, progress: Progress = no_progress
) -> CheckReport:
    """Look at every listed file once.

    probe: says why each of some files cannot be decoded, None for one that can, in order. Only
    readable files of the same size are hashed to find duplicates.
    """
    manifest = dataset.manifest
    report = CheckReport(
        dataset=dataset.config.name,
        videos=manifest.videos,
        splits=split_counts(dataset),
        absent=manifest.absent,
        unlisted=manifest.unlisted,
        remarks=manifest.remarks,
    )
    root = dataset.videos_root
    if root is None:
        return report
    firsts = manifest.rows[manifest.rows["path"] != ""].drop_duplicates("video")
    paths = firsts["path"].tolist()
    sizes = {path: _size(root / path) for path in paths}
    empty = tuple(path for path in paths if sizes[path] == 0)
    unreadable = {path: "cannot be opened" for path in paths if sizes[path] < 0}
    whole = [path for path in paths if sizes[path] > 0]
    with progress("reading videos", len(whole)) as advance:
        unreadable |= _probe_all(root, whole, probe, advance)
    # what is no video may be of any size, and is listed anyhow
    duplicates = _same_bytes(root, {p: sizes[p] for p in whole if p not in unreadable})
    splits = dict(zip(firsts["path"], firsts["splits"], strict=True))
    return CheckReport(
        **{
            **vars(report),
            "empty": empty,
            "unreadable": unreadable,
            "duplicates": duplicates,
            "across_splits": tuple(g for g in duplicates if _crosses([splits[p] for p in g])),
            "mislabelled": _mislabelled(dataset, paths, firsts["class"].tolist()),
        }
    )


def split_counts(dataset: Dataset) -> dict[str, SplitCounts]:
    """Videos listed and present, and classes, for each official split."""
    rows = dataset.manifest.rows
    counts = {}
    for split in dataset.manifest.splits:
        joined = [text for text in rows["splits"].unique() if split in text.split(";")]
        chosen = rows[rows["splits"].isin(joined)]
        firsts = chosen.drop_duplicates("video")
        classes = int(chosen.loc[chosen["class"] != "", "class"].nunique())
        counts[split] = SplitCounts(len(firsts), int((firsts["path"] != "").sum()), classes)
    return counts


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _probe_all(
    root: Path, paths: Sequence[str], probe: Probe, advance: Callable[[int], None]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for path, why in zip(paths, probe([root / path for path in paths]), strict=True):
        advance(1)
        if why is not None:
            found[path] = why
    return found


def _same_bytes(root: Path, sizes: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    by_size: dict[int, list[str]] = {}
    for path, size in sizes.items():
        by_size.setdefault(size, []).append(path)
    groups: dict[str, list[str]] = {}
    for alike in by_size.values():
        if len(alike) > 1:
            for path in alike:
                groups.setdefault(sha256_file(root / path), []).append(path)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _crosses(splits: Sequence[str]) -> bool:
    """Whether the videos stand in a training split and in another one that belongs to it."""
    names = [set(joined.split(";")) for joined in splits]
    for one in names:
        for training in (name for name in one if name.split("-")[0] == "train"):
            number = training.partition("-")[2]
            others = {f"{kind}-{number}" if number else kind for kind in ("test", "validation")}
            if any(others & other for other in names):
                return True
    return False


def _mislabelled(
    dataset: Dataset, paths: Sequence[str], classes: Sequence[str]
) -> dict[str, tuple[str, str]]:
    """Files in a folder that is named after another class than the listed one."""
    if dataset.manifest.multi_label:
        return {}
    of_folder: dict[str, str | None] = {}
    found = {}
    for path, listed in zip(paths, classes, strict=True):
        folder = path.rpartition("/")[0].rpartition("/")[2]
        if not folder or not fold(folder):
            continue
        if folder not in of_folder:
            try:
                of_folder[folder] = dataset.label_set.resolve(folder)
            except DataError:
                of_folder[folder] = None
        stated = of_folder[folder]
        if stated is not None and listed and stated != listed:
            found[path] = (listed, stated)
    return found
