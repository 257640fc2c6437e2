"""The rows of a manifest that an official split names."""

from __future__ import annotations

import pandas as pd

from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.data.manifest import Manifest
from vclip_cli.data.split_names import EVERYTHING

JOIN = "+"
"""`train-1+test-1` is the union of two splits."""


def has_split(manifest: Manifest, split: str) -> bool:
    """Whether every part of `split` is an official split of the dataset, or stands for everything.

    `all` and `full` stand for every listed video.
    """
    return all(part in EVERYTHING or part in manifest.splits for part in split.split(JOIN))


def official_split(manifest: Manifest, split: str) -> pd.DataFrame:
    """The manifest's rows of a split (or a union with `+`), in the order of the official files.

    Raises DataError with the near misses when the dataset has no such split.
    """
    wanted = split.split(JOIN)
    for part in wanted:
        if part not in EVERYTHING and part not in manifest.splits:
            raise DataError(
                f"the dataset {manifest.dataset!r} has no split {part!r}",
                found=", ".join(manifest.splits) or "no split at all",
                hint=did_you_mean(part, [*manifest.splits, *EVERYTHING]),
            )
    if any(part in EVERYTHING for part in wanted):
        return manifest.rows
    joined = manifest.rows["splits"]
    holding = [text for text in joined.unique() if not set(wanted).isdisjoint(text.split(";"))]
    return manifest.rows[joined.isin(holding)]
