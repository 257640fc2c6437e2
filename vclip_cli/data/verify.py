"""Whether a split file is what its provenance says, and what the rule gives today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli import __version__
from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_bytes, sha256_file
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.imported import import_split
from vclip_cli.data.selection import select
from vclip_cli.data.split import COLUMNS, Split, rows_as_csv

_SHOWN = 3


@dataclass(frozen=True)
class Verification:
    """differences: why the split does not hold; remarks: what changed without touching it."""

    differences: tuple[str, ...]
    remarks: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify_split(
    split: Split,
    dataset: Dataset,
    *,
    list_file: Path | None = None,
    labels_file: Path | None = None,
) -> Verification:
    """Rebuild a split (read with `altered=True`) and compare videos, classes and order.

    An imported split is rebuilt from `list_file`; without it only its videos and classes are looked
    up. A changed manifest or label set is a remark as long as the same rows come out.
    """
    stated = split.provenance
    differences: list[str] = []
    remarks: list[str] = []
    if sha256_bytes(split.csv) != stated.sha256:
        differences.append("the rows were altered after the split was written")
    counted = {
        "rows": len(split.rows),
        "videos": int(split.rows["video"].nunique()),
        "classes": int(split.rows.loc[split.rows["class"] != "", "class"].nunique()),
    }
    differences += [
        f"its .json counts {getattr(stated, key):,} {key}, the file holds {found:,}"
        for key, found in counted.items()
        if getattr(stated, key) != found
    ]
    rebuilt: pd.DataFrame | None = None
    try:
        if stated.rule.name != "imported":
            rebuilt = select(dataset, stated.rule, shots=stated.shots, seed=stated.seed).rows
        elif list_file is not None:
            source = stated.imported
            if source is not None and sha256_file(list_file) != source.sha256:
                differences.append(f"{list_file.name} is not the list that was imported")
            stored = source.labels_sha256 if source is not None else None
            if labels_file is not None and stored and sha256_file(labels_file) != stored:
                differences.append(f"{labels_file.name} does not hold the names of the import")
            subset = stated.rule.subset
            rebuilt = import_split(dataset, list_file, labels_file=labels_file, subset=subset).rows
        else:
            remarks.append("the imported list was not compared: give it with --from-list")
            differences.extend(_unknown_rows(split.rows, dataset.manifest.rows))
    except DataError as error:
        differences.append(f"it cannot be made again: {error}")
    if rebuilt is not None:
        differences.extend(_compare(split.rows, rebuilt[COLUMNS]))
    if stated.manifest_sha256 != dataset.manifest.sha256:
        remarks.append("the dataset's lists have changed since (other manifest hash)")
    if stated.label_set_sha256 != dataset.label_set.sha256:
        remarks.append("the label set has changed since (other hash)")
    if stated.vclip_version != __version__:
        remarks.append(f"written by vclip {stated.vclip_version}, this is {__version__}")
    return Verification(tuple(differences), tuple(remarks))


def _compare(found: pd.DataFrame, rebuilt: pd.DataFrame) -> list[str]:
    if rows_as_csv(found) == rows_as_csv(rebuilt):
        return []
    differences = []
    ours, theirs = set(found["video"]), set(rebuilt["video"])
    for title, videos in (
        ("in the file, not chosen by the rule", ours - theirs),
        ("chosen by the rule, not in the file", theirs - ours),
    ):
        if videos:
            differences.append(f"{len(videos):,} videos {title}: {_some(sorted(videos))}")
    pairs = set(zip(rebuilt["video"], rebuilt["class"], strict=True))
    other = [
        f"{video} ({name})"
        for video, name in zip(found["video"], found["class"], strict=True)
        if video in theirs and (video, name) not in pairs
    ]
    if other:
        differences.append(f"{len(other):,} videos with another class: {_some(other)}")
    return differences or ["the same videos and classes in another order or number"]


def _unknown_rows(found: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    pairs = set(zip(known["video"], known["class"], strict=True))
    unknown = [
        f"{video} ({name})"
        for video, name in zip(found["video"], found["class"], strict=True)
        if (video, name) not in pairs
    ]
    return [f"{len(unknown):,} rows are not in the dataset: {_some(unknown)}"] if unknown else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
