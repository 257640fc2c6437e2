"""Using a split file as it stands: its rows joined to the dataset, and the classes it is about."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import ComparisonRefused, DataError
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.selection import candidate_classes
from vclip_cli.data.split import Split, read_split


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
