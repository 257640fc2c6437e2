"""Check a split file against its provenance, and against what its rule draws today."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli import __version__
from vclip_cli.common.errors import DataError, examples
from vclip_cli.common.files import sha256_file
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.draws import select
from vclip_cli.data.imported import import_split
from vclip_cli.data.split import COLUMNS, Split, counted, rows_as_csv


@dataclass(frozen=True)
class SplitVerification:
    """differences: why the split does not hold; remarks: changes elsewhere that do not touch it."""

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
) -> SplitVerification:
    """Make a split (read with `altered=True`) again and compare videos, classes and order.

    An imported split is made again from `list_file`; without it only its videos and classes are
    looked up. A changed manifest or label set is a remark as long as the same rows come out.
    """
    stated = split.provenance
    differences: list[str] = []
    remarks: list[str] = []
    if split.altered:
        differences.append("the rows were altered after the split was written")
    differences += [
        f"its .json counts {getattr(stated, key):,} {key}, the file holds {found:,}"
        for key, found in counted(split.rows).items()
        if getattr(stated, key) != found
    ]
    try:
        if stated.rule.name != "imported":
            selection = select(dataset, stated.rule, shots=stated.shots, seed=stated.seed)
            differences += _compare(split.rows, selection.rows)
        elif list_file is not None:
            differences += _compare_import(split, dataset, list_file, labels_file)
        else:
            remarks.append("the imported list was not compared: give it with --from-list")
            if unknown := _missing_pairs(split.rows, dataset.manifest.rows):
                rows = f"{len(unknown):,} rows are not in the dataset"
                differences.append(f"{rows}: {examples(unknown)}")
    except DataError as error:
        differences.append(f"it cannot be made again: {error}")
    if stated.manifest_sha256 != dataset.manifest.sha256:
        remarks.append("the dataset's lists have changed since (other manifest hash)")
    if stated.label_set_sha256 != dataset.label_set.sha256:
        remarks.append("the label set has changed since (other hash)")
    if stated.vclip_version != __version__:
        remarks.append(f"written by vclip {stated.vclip_version}, this is {__version__}")
    return SplitVerification(tuple(differences), tuple(remarks))


def _compare_import(
    split: Split, dataset: Dataset, list_file: Path, labels_file: Path | None
) -> list[str]:
    differences = []
    source, subset = split.provenance.imported, split.provenance.rule.subset
    if source is not None and sha256_file(list_file) != source.sha256:
        differences.append(f"{list_file.name} is not the list that was imported")
    stored = source.labels_sha256 if source is not None else None
    if labels_file is not None and stored and sha256_file(labels_file) != stored:
        differences.append(f"{labels_file.name} does not hold the names of the import")
    again = import_split(dataset, list_file, labels_file=labels_file, subset=subset)
    return differences + _compare(split.rows, again.rows)


def _compare(found: pd.DataFrame, again: pd.DataFrame) -> list[str]:
    if rows_as_csv(found) == rows_as_csv(again[COLUMNS]):
        return []
    differences = []
    ours, theirs = set(found["video"]), set(again["video"])
    for title, videos in (
        ("in the file, not chosen by the rule", ours - theirs),
        ("chosen by the rule, not in the file", theirs - ours),
    ):
        if videos:
            differences.append(f"{len(videos):,} videos {title}: {examples(sorted(videos))}")
    if other := _missing_pairs(found[found["video"].isin(theirs)], again):
        differences.append(f"{len(other):,} videos with another class: {examples(other)}")
    return differences or ["the same videos and classes in another order or number"]


def _missing_pairs(found: pd.DataFrame, known: pd.DataFrame) -> list[str]:
    """The videos and classes of `found` that are not in `known`."""
    pairs = set(zip(known["video"], known["class"], strict=True))
    listed = zip(found["video"], found["class"], strict=True)
    return [f"{video} ({name})" for video, name in listed if (video, name) not in pairs]
