"""Carrying out a split's rule on a dataset: the same function draws a split and rebuilds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError
from vclip_cli.common.files import sha256_bytes
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.draws import draw_base, draw_few_shot, halves_by_counts
from vclip_cli.data.manifest import official_split
from vclip_cli.data.split import (
    COLUMNS,
    ImportedFile,
    ProtocolReference,
    Provenance,
    Rule,
    Split,
    read_split,
    rows_as_csv,
)


@dataclass(frozen=True)
class Selection:
    """Chosen rows of a manifest (`video, path, class`), and the candidate classes in order."""

    rows: pd.DataFrame
    classes: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def select(
    dataset: Dataset, rule: Rule, *, shots: int | None = None, seed: int | None = None
) -> Selection:
    """Carry out a rule other than `imported`.

    Raises DataError when the dataset does not allow it.
    """
    if rule.split is None:
        raise UsageError(f"the rule {rule.name!r} names no split")
    classes, remarks = candidate_classes(dataset, rule)
    rows = official_split(dataset.manifest, rule.split)
    if not dataset.manifest.multi_label and (rows["class"] == "").any():
        unlabelled = int((rows["class"] == "").sum())
        if unlabelled == len(rows):
            raise DataError(
                f"the videos of {rule.split!r} have no labels", where=dataset.config.name
            )
        remarks = (*remarks, f"{unlabelled:,} videos without a label were left out")
    kept = rows[rows["class"].isin(set(classes))]
    if dataset.manifest.multi_label and rule.name == "official":
        kept = _with_unlabelled(rows, kept)
    if not kept["class"].isin(set(classes)).any():
        raise DataError(
            f"no video of {rule.split!r} is of a class that was asked for",
            where=dataset.config.name,
        )
    if rule.name != "official":
        kept = _draw(kept, classes, rule, shots, seed)
    return Selection(
        kept[["video", "path", "class"]].reset_index(drop=True), tuple(classes), remarks
    )


def _with_unlabelled(rows: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """All videos of multi-label rows: those without a kept label have one row without a class.

    A video that shows none of the classes counts against each of them.
    """
    others = rows[~rows["video"].isin(set(kept["video"]))].drop_duplicates("video")
    return pd.concat([kept, others.assign(**{"class": ""})]).sort_index(kind="stable")


def candidate_classes(dataset: Dataset, rule: Rule) -> tuple[list[str], tuple[str, ...]]:
    """The classes that a rule is about, in order, and remarks on how they were found."""
    label_set = dataset.label_set
    if rule.half is not None:
        return _half(dataset, rule)
    if rule.subset is not None:
        return label_set.subset(rule.subset), ()
    return list(label_set.names), ()


def _half(dataset: Dataset, rule: Rule) -> tuple[list[str], tuple[str, ...]]:
    label_set = dataset.label_set
    stated = {name: label_set.subsets.get(name) for name in ("base", "novel")}
    if rule.halves == "subsets":
        return label_set.subset(str(rule.half)), ()
    counted = official_split(dataset.manifest, rule.counted_in or "train")
    base, novel = halves_by_counts(_as_counts(counted), label_set.names)
    remarks = []
    if stated["base"] is not None and set(stated["base"]) != set(base):
        other = sum(name not in set(base) for name in stated["base"])
        remarks.append(
            f"the halves by the training counts of this copy differ from the label set's published"
            f" ones in {other} classes"
        )
    return (base if rule.half == "base" else novel), tuple(remarks)


def _as_counts(rows: pd.DataFrame) -> dict[str, int]:
    """Class to the number of its videos."""
    counts = rows.drop_duplicates(["video", "class"])["class"].value_counts()
    return {str(name): int(count) for name, count in counts.items()}


def _draw(
    rows: pd.DataFrame, classes: Sequence[str], rule: Rule, shots: int | None, seed: int | None
) -> pd.DataFrame:
    if shots is None or seed is None:
        raise UsageError(f"the rule {rule.name!r} needs --shots and --seed")
    found = {name: group.tolist() for name, group in rows.groupby("class")["video"]}
    videos_of: Mapping[str, Sequence[str]] = {name: found.get(name, []) for name in classes}
    if rule.name == "base-to-novel":
        drawn = draw_base(videos_of, shots, seed)
    else:
        drawn = draw_few_shot(videos_of, shots, seed, nested=rule.nested)
    order = {video: None for videos in drawn.values() for video in videos}
    rank = {video: position for position, video in enumerate(order)}
    kept = rows[rows["video"].isin(rank)]
    return kept.assign(rank=kept["video"].map(rank)).sort_values("rank", kind="stable")


def build_split(
    dataset: Dataset,
    rows: pd.DataFrame,
    rule: Rule,
    part: str,
    *,
    shots: int | None = None,
    seed: int | None = None,
    protocol: ProtocolReference | None = None,
    imported: ImportedFile | None = None,
    remarks: Sequence[str] = (),
) -> Split:
    """A split of chosen rows (`video`, `class`) with its whole provenance."""
    rows = rows[COLUMNS].reset_index(drop=True)
    provenance = Provenance(
        dataset=dataset.config.name,
        part=part,
        protocol=protocol,
        rule=rule,
        shots=shots,
        seed=seed,
        manifest_sha256=dataset.manifest.sha256,
        label_set=dataset.label_set.name,
        label_set_sha256=dataset.label_set.sha256,
        imported=imported,
        rows=len(rows),
        videos=int(rows["video"].nunique()),
        classes=int(rows.loc[rows["class"] != "", "class"].nunique()),
        sha256=sha256_bytes(rows_as_csv(rows)),
        remarks=list(remarks),
    )
    return Split(rows, provenance)


def read_listed(path: Path, dataset: Dataset) -> Split:
    """A split file that belongs to the dataset.

    Raises ComparisonRefused when it was made of another dataset, DataError when it is broken,
    altered, or holds rows that the dataset does not list.
    """
    split = read_split(path)
    if split.provenance.dataset != dataset.config.name:
        raise ComparisonRefused(
            "the split file belongs to another dataset",
            where=str(path),
            found=repr(split.provenance.dataset),
            expected=repr(dataset.config.name),
        )
    joined = with_paths(split, dataset)
    if joined["path"].isna().any():
        first = joined[joined["path"].isna()].iloc[0]
        raise DataError(
            f"{int(joined['path'].isna().sum()):,} rows of the split are not in the dataset",
            where=str(path),
            found=f"{first['video']!r} as {first['class']!r}",
            hint=f"vclip split --verify {path}",
        )
    return split


def with_paths(split: Split, dataset: Dataset) -> pd.DataFrame:
    """`video, path, class` in the split's order; `path` is missing for rows not in the dataset."""
    known = dataset.manifest.rows[["video", "class", "path"]]
    if dataset.manifest.multi_label:  # a video without any of the classes that a split is about
        known = pd.concat([known, known.assign(**{"class": ""})]).drop_duplicates(
            ["video", "class"]
        )
    joined = split.rows.merge(known, on=["video", "class"], how="left", sort=False)
    return joined[["video", "path", "class"]]


def listed_classes(split: Split, dataset: Dataset, *, training: bool) -> tuple[str, ...]:
    """The classes that a split is about, in order.

    Those of its rule; for an imported list without a subset all classes of the label set, or in
    training the classes that occur.
    """
    rule = split.provenance.rule
    classes, _ = candidate_classes(dataset, rule)
    if training and rule.name == "imported" and rule.subset is None:
        occurring = set(split.rows["class"])
        classes = [name for name in classes if name in occurring]
    return tuple(classes)
