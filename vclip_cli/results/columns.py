"""The columns of a table: test sets times metrics, and the harmonic mean after base and novel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from vclip_cli.results.grouping import ColumnKey
from vclip_cli.results.names import dataset_title, metric_title
from vclip_cli.results.result_table import Column

HARMONIC = "HM"


@dataclass(frozen=True)
class Place:
    """A column. base: given where it holds the harmonic mean of the columns `base` and `key`."""

    key: ColumnKey
    metric: str
    base: ColumnKey | None = None


def plan_places(keys: Sequence[ColumnKey], metrics: Sequence[str]) -> list[Place]:
    """All columns in order; within one dataset and number of shots by metric."""
    bases = base_columns(keys)
    places = []
    for _, members in groupby(keys, key=lambda key: (key.dataset, key.shots)):
        group = list(members)
        for metric in metrics:
            for key in group:
                places.append(Place(key, metric))
                if key in bases:
                    places.append(Place(key, metric, bases[key]))
    return places


def base_columns(keys: Sequence[ColumnKey]) -> dict[ColumnKey, ColumnKey]:
    """The base column of each novel one.

    Both parts mostly come from one split; where they do not, the only base column is taken.
    """
    pairs = {}
    for key in keys:
        bases = [k for k in keys if k[:3] == (key.dataset, key.shots, "base")]
        base = key._replace(part="base")
        if key.part == "novel" and (base in bases or len(bases) == 1):
            pairs[key] = base if base in bases else bases[0]
    return pairs


def headed(
    places: Sequence[Place],
    keys: Sequence[ColumnKey],
    tests: Mapping[ColumnKey, set[str]],
    units: Mapping[str, str],
) -> tuple[Column, ...]:
    """The columns with their headers, which say no more than is needed to tell them apart."""
    several_shots = len({key.shots for key in keys}) > 1
    metrics = list(dict.fromkeys(place.metric for place in places))
    several_units = len(set(units.values())) > 1
    columns = []
    for place in places:
        key = place.key
        words = [f"{key.shots}-shot"] if several_shots and key.shots else []
        words.append(HARMONIC if place.base else _test_title(key, keys, tests))
        if len(metrics) > 1:
            words.append(metric_title(place.metric).removesuffix(" accuracy"))
        if several_units:
            words.append(f"({units[place.metric]})")
        name = " ".join(word for word in words if word)
        unit = units[place.metric] if several_units else None
        columns.append(Column(dataset_title(key.dataset), name, unit=unit))
    return tuple(columns)


def _test_title(
    key: ColumnKey, keys: Sequence[ColumnKey], tests: Mapping[ColumnKey, set[str]]
) -> str:
    """The part, and the split where the dataset has columns of several; whole names if alone."""
    split, part = key.split, key.part
    if len(tests[key]) == 1:
        split, _, part = next(iter(tests[key])).partition("/")
    several = sum(other[:3] == key[:3] for other in keys) > 1
    return f"{split if several else ''} {part}".strip()
