"""From a split's rule to its rows and classes: official splits, halves of classes, draws.

The same function draws a split and draws it again when it is verified.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from vclip_cli.common.errors import DataError, UsageError, examples
from vclip_cli.common.files import sha256_bytes
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.manifest import official_split
from vclip_cli.data.split import Rule


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

    Raises DataError when the dataset does not allow it, UsageError for a draw without shots.
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
    chosen = kept[["video", "path", "class"]].reset_index(drop=True)
    return Selection(chosen, tuple(classes), remarks)


def _with_unlabelled(rows: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """All videos of multi-label rows: those without a kept label have one row without a class.

    A video that shows none of the classes is a negative example of each of them.
    """
    others = rows[~rows["video"].isin(set(kept["video"]))].drop_duplicates("video")
    return pd.concat([kept, others.assign(**{"class": ""})]).sort_index(kind="stable")


def candidate_classes(dataset: Dataset, rule: Rule) -> tuple[list[str], tuple[str, ...]]:
    """The classes that a rule covers, in order, and remarks on how they were found."""
    label_set = dataset.label_set
    if rule.half is None:
        return (label_set.subset(rule.subset) if rule.subset else list(label_set.names)), ()
    if rule.halves == "subsets":
        return label_set.subset(rule.half), ()
    counted = official_split(dataset.manifest, rule.counted_in or "train")
    videos = counted.drop_duplicates(["video", "class"])["class"]
    base, novel = halves_by_counts(Counter(videos.tolist()), label_set.names)
    remarks: tuple[str, ...] = ()
    if other := len(set(label_set.subsets.get("base", base)) - set(base)):
        remark = "the halves by the training counts of this copy differ from the label set's"
        remarks = (f"{remark} published ones in {other} classes",)
    return (base if rule.half == "base" else novel), remarks


def _draw(
    rows: pd.DataFrame, classes: Sequence[str], rule: Rule, shots: int | None, seed: int | None
) -> pd.DataFrame:
    if shots is None or seed is None:
        raise UsageError(f"the rule {rule.name!r} needs --shots and --seed")
    found = {name: group.tolist() for name, group in rows.groupby("class")["video"]}
    videos_of = {name: found.get(name, []) for name in classes}
    if rule.name == "base-to-novel":
        drawn = draw_base(videos_of, shots, seed)
    else:
        drawn = draw_few_shot(videos_of, shots, seed, nested=rule.nested)
    return rows_in_order(rows, [video for videos in drawn.values() for video in videos])


def rows_in_order(rows: pd.DataFrame, videos: Sequence[str]) -> pd.DataFrame:
    """The rows of some videos, in the order of the videos."""
    rank = {video: position for position, video in enumerate(dict.fromkeys(videos))}
    kept = rows[rows["video"].isin(rank)]
    return kept.assign(rank=kept["video"].map(rank)).sort_values("rank", kind="stable")


def draw_few_shot(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int, *, nested: bool = False
) -> dict[str, list[str]]:
    """K videos of every class, the classes in the order given.

    The videos of a class are ordered by the SHA-256 of seed, class, K and id, and the first K are
    taken. Neither the order of rows nor other classes matter. nested: K stays out of the hash, so
    that the K-shot draw is the beginning of the 2K-shot one. Raises DataError that names the
    classes with fewer than K videos.
    """
    _require_enough(videos_of, shots)
    drawn = {}
    for name, videos in videos_of.items():
        head = f"few-shot\n{seed}\n{'' if nested else shots}\n{name}\n"
        ranks = {video: sha256_bytes((head + video).encode()) for video in videos}
        drawn[name] = sorted(ranks, key=ranks.__getitem__)[:shots]
    return drawn


def draw_base(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int
) -> dict[str, list[str]]:
    """K training videos of every base class by the published draw of ViFi-CLIP.

    `random.Random(seed).sample(videos, K)`, with the generator seeded anew for every class, over
    the videos in the order of the official list (see `docs/methods.md`). Raises DataError that
    names the classes with fewer than K videos.
    """
    _require_enough(videos_of, shots)
    return {
        name: random.Random(seed).sample(list(dict.fromkeys(videos)), shots)
        for name, videos in videos_of.items()
    }


def halves_by_counts(
    counts: Mapping[str, int], order: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Base and novel classes by the rule of ViFi-CLIP (arXiv 2212.03640, base-to-novel setting).

    Sort ascending by (training videos, index in `order`); novel is the first floor(n/2), base the
    rest. Both stay in that order. Raises DataError for fewer than two classes.
    """
    if len(order) < 2:
        raise DataError("two halves need at least two classes", found=f"{len(order)}")
    ranked = sorted(order, key=lambda name: counts.get(name, 0))
    novel = len(ranked) // 2
    return ranked[novel:], ranked[:novel]


def _require_enough(videos_of: Mapping[str, Sequence[str]], shots: int) -> None:
    """Raise DataError that names the classes with fewer than `shots` videos."""
    counts = {name: len(set(videos)) for name, videos in videos_of.items()}
    small = [f"{name!r} ({count})" for name, count in counts.items() if count < shots]
    if small:
        hint = "restrict the label set to the classes that have videos"
        if least := min(counts.values()):
            hint = f"at most --shots {least} fits every class"
        raise DataError(
            f"{len(small)} of {len(counts)} classes have fewer than {shots} training videos",
            found=examples(small, 5),
            expected=f"at least {shots} a class",
            hint=hint,
        )
