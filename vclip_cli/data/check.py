"""`vclip data check`: missing, damaged, doubled and mislabelled videos of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vclip_cli.common.files import sha256_file
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.dataset import Dataset

Probe = Callable[[Sequence[Path]], Iterable[str | None]]
"""For each file in order, why it cannot be decoded; None for a readable file."""


@dataclass(frozen=True)
class SplitCounts:
    """Videos of a split: listed, of these on disk, and classes."""

    listed: int
    present: int
    classes: int


@dataclass(frozen=True)
class OtherFolder:
    """The listed class of a file, and the class that its folder is named after."""

    listed: str
    folder: str


@dataclass(frozen=True)
class CheckReport:
    """The result of a check. Videos are named by id, files by relative path.

    duplicates: groups of paths with the same bytes. duplicates_across_splits: those whose
    videos are in a training split and another split of the same number. unreadable: path to reason.
    mislabelled: files in a folder that is named after another class than the listed one.
    """

    dataset: str
    videos: int
    splits: dict[str, SplitCounts]
    absent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)
    duplicates: tuple[tuple[str, ...], ...] = ()
    duplicates_across_splits: tuple[tuple[str, ...], ...] = ()
    mislabelled: dict[str, OtherFolder] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether every listed video is there and can be read."""
        return not (self.absent or self.empty or self.unreadable)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {"dataset": self.dataset, "sound": self.sound, **asdict(self)}


def check_dataset(
    dataset: Dataset, probe: Probe, *, progress: Progress = no_progress
) -> CheckReport:
    """Look at every listed file once. Readable files of the same size are hashed for duplicates."""
    root, manifest = dataset.videos_root, dataset.manifest
    report = CheckReport(
        dataset=dataset.config.name,
        videos=manifest.videos,
        splits=split_counts(dataset),
        absent=manifest.absent,
        unlisted=manifest.unlisted,
        remarks=manifest.remarks,
    )
    if root is None:
        return report
    firsts = manifest.rows[manifest.rows["path"] != ""].drop_duplicates("video")
    paths = firsts["path"].tolist()
    sizes = {path: _size(root / path) for path in paths}
    unreadable = {path: "cannot be opened" for path in paths if sizes[path] < 0}
    whole = [path for path in paths if sizes[path] > 0]
    with progress("reading videos", len(whole)) as advance:
        for path, why in zip(whole, probe([root / path for path in whole]), strict=True):
            advance(1)
            if why is not None:
                unreadable[path] = why
    duplicates = _same_bytes(root, {p: sizes[p] for p in whole if p not in unreadable})
    splits = dict(zip(firsts["path"], firsts["splits"], strict=True))
    return replace(
        report,
        empty=tuple(path for path in paths if sizes[path] == 0),
        unreadable=unreadable,
        duplicates=duplicates,
        duplicates_across_splits=tuple(g for g in duplicates if _crosses([splits[p] for p in g])),
        mislabelled=_mislabelled(dataset, dict(zip(paths, firsts["class"], strict=True))),
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


def describe_dataset(dataset: Dataset, file: Path | None = None) -> dict[str, Any]:
    """A JSON-able summary; file: the config file that registers it."""
    manifest = dataset.manifest
    return {
        "name": dataset.config.name,
        "file": str(file) if file else None,
        "videos_root": str(dataset.videos_root) if dataset.videos_root else None,
        "annotations": str(source) if (source := dataset.config.annotations) else None,
        "format": dataset.config.format,
        "label_set": dataset.config.label_set,
        "classes": len(dataset.label_set.names),
        "multi_label": manifest.multi_label,
        "listed": manifest.videos,
        "absent": len(manifest.absent) if dataset.videos_root else None,
        "unlisted": len(manifest.unlisted) if dataset.videos_root else None,
        "splits": {name: vars(counts) for name, counts in split_counts(dataset).items()},
        "manifest_sha256": manifest.sha256,
        "remarks": list(manifest.remarks),
    }


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _same_bytes(root: Path, sizes: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    files_of_size = Counter(sizes.values())
    groups: dict[str, list[str]] = {}
    for path, size in sizes.items():
        if files_of_size[size] > 1:
            groups.setdefault(sha256_file(root / path), []).append(path)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _crosses(splits: Sequence[str]) -> bool:
    """Whether the videos are in a training split and in another split of the same number."""
    names = {name for joined in splits for name in joined.split(";")}
    for training in (name for name in names if name.split("-")[0] == "train"):
        ending = training.removeprefix("train")
        if not names.isdisjoint({f"test{ending}", f"validation{ending}"}):
            return True
    return False


def _mislabelled(dataset: Dataset, listed: dict[str, str]) -> dict[str, OtherFolder]:
    """Files in a folder that is named after another class than the listed one."""
    if dataset.manifest.multi_label:
        return {}
    found = {}
    for path, class_name in listed.items():
        folder = path.rpartition("/")[0].rpartition("/")[2]
        stated = dataset.label_set.find(folder)
        if stated is not None and class_name and stated != class_name:
            found[path] = OtherFolder(class_name, stated)
    return found
