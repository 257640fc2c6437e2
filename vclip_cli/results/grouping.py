"""Which records share a row, a column and a cell of a table.

A row is one method with one setting. A column is one dataset, number of shots, part and split. A
cell joins what the protocol's `aggregate` names (splits, parts, seeds). Any other setting that
changes a score keeps records in separate rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vclip_cli.common.errors import ComparisonRefused
from vclip_cli.common.files import canonical_json, sha256_json
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.record import EVERYTHING_JOINED, Record, RecordedAggregate

DATASETS = {
    "kinetics400": "K400",
    "hmdb51": "HMDB51",
    "ucf101": "UCF101",
    "ssv2": "SSv2",
    "kinetics600": "K600",
    "charades": "Charades",
}
"""In the order of the papers' columns: zero-shot HMDB51, UCF101, K600; base-to-novel K400 first."""
PARTS = ("", "base", "novel")


class ColumnKey(NamedTuple):
    """What one column holds; shots: 0 for all or none, part: empty for all classes.

    split, part: without the number at their end where the protocol joins splits or parts, so that
    `test-1`, `test-2`, `test-3` are one column, and `test` and `full` are two.
    """

    dataset: str
    shots: int
    part: str
    split: str


class RowKey(NamedTuple):
    """A method as a row names it.

    frames; views (clips and crops): more than one where they differ between datasets. settings:
    those that distinguish rows of the same name.
    """

    method: str
    backbone: str
    frames: tuple[int, ...]
    views: tuple[tuple[int, int], ...]
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> tuple[str, str]:
        """The method and its backbone."""
        return self.method, self.backbone


Grouped = dict[tuple[RowKey, ColumnKey], list[LoadedRecord]]


def row_key(record: Record) -> RowKey:
    """The row of a record, before settings tell it from others of the same name."""
    pretrained = record.backbone.pretrained
    backbone = record.backbone.name
    if pretrained is not None:
        backbone += f" ({Path(pretrained).name})"
    return RowKey(record.adapter.name, backbone, (record.video.frames,), (record.views,))


def joined_repeats(records: Sequence[LoadedRecord]) -> RecordedAggregate:
    """What a table of records that follow one protocol joins."""
    stated = (loaded.record.protocol.aggregate for loaded in records)
    return next((aggregate for aggregate in stated if aggregate is not None), EVERYTHING_JOINED)


def column_key(record: Record, joined: Collection[str]) -> ColumnKey:
    """The column of a record. joined: which of splits, parts and seeds share a cell."""
    dataset = record.dataset
    split, part = dataset.split, dataset.part or ""
    return ColumnKey(
        dataset.name,
        record.protocol.shots or 0,
        unnumbered(part) if "parts" in joined else part,
        unnumbered(split) if "splits" in joined else split,
    )


def unnumbered(name: str) -> str:
    """`test` for `test-1`, `zs` for `zs2`."""
    return re.sub(r"[-_ ]?[0-9]+$", "", name)


def column_order(key: ColumnKey) -> tuple[tuple[int, str], int, int, str, str]:
    """Sorts columns by dataset, shots, part (all, base, novel, others) and split."""
    place = PARTS.index(key.part) if key.part in PARTS else len(PARTS)
    return dataset_order(key.dataset), key.shots, place, key.part, key.split


def dataset_order(name: str) -> tuple[int, str]:
    """Sorts the papers' datasets first, in their order, and others by name."""
    known = list(DATASETS)
    return (known.index(name) if name in known else len(known), name)


def group_records(
    records: Sequence[LoadedRecord], metrics: Sequence[str], joined: Collection[str]
) -> Grouped:
    """The records of each cell, each run once. joined: as for `column_key`.

    Raises ComparisonRefused when two records of one run differ in one of the metrics, or a column
    would join test sets with different numbers of classes.
    """
    columns = [column_key(loaded.record, joined) for loaded in records]
    rows = _rows(records, columns)
    grouped: Grouped = {}
    for row in dict.fromkeys(rows):
        members = [number for number, own in enumerate(rows) if own == row]
        own_columns = [columns[number] for number in members]
        apart = distinguishing([records[n].record for n in members], own_columns, joined)
        for number, settings in zip(members, apart, strict=True):
            named = row._replace(settings=settings)
            for column in _columns_of(records[number].record, columns[number], set(columns)):
                grouped.setdefault((named, column), []).append(records[number])
    grouped = {key: _without_copies(entries, metrics) for key, entries in grouped.items()}
    _require_equal_class_counts(grouped)
    return grouped


def _rows(records: Sequence[LoadedRecord], columns: Sequence[ColumnKey]) -> list[RowKey]:
    """The row of each record, from its method and backbone.

    Different frames or views make rows of their own only where they occur in one column: a method
    that used 8 frames on one dataset and 32 on another is one row, as papers print it.
    """
    keys = [row_key(loaded.record) for loaded in records]
    looks: dict[tuple[tuple[str, str], ColumnKey], set[RowKey]] = {}
    for key, column in zip(keys, columns, strict=True):
        looks.setdefault((key.name, column), set()).add(key)
    apart = {name for (name, _), found in looks.items() if len(found) > 1}
    rows = []
    for key in keys:
        if key.name not in apart:
            alike = [other for other in keys if other.name == key.name]
            frames = tuple(sorted({count for other in alike for count in other.frames}))
            views = tuple(sorted({view for other in alike for view in other.views}))
            key = key._replace(frames=frames, views=views)
        rows.append(key)
    return rows


def _columns_of(record: Record, column: ColumnKey, known: set[ColumnKey]) -> list[ColumnKey]:
    """The columns of a record: its own one, or those that it is the baseline of.

    An untrained method is the baseline for each number of shots that others were trained with.
    """
    if record.adapter.checkpoint_sha256 is not None or column.shots:
        return [column]
    trained = {key for key in known if key.shots and key._replace(shots=0) == column}
    return sorted(trained) or [column]


def _without_copies(entries: Sequence[LoadedRecord], metrics: Sequence[str]) -> list[LoadedRecord]:
    """Each run once. Raises ComparisonRefused when two records of a run differ in the result."""
    first: dict[tuple[str, str], LoadedRecord] = {}
    for loaded in entries:
        known = first.setdefault(replicate_of(loaded.record), loaded)
        pair = [entry.record for entry in (known, loaded)]
        differing = [m for m in metrics if pair[0].metrics.get(m) != pair[1].metrics.get(m)]
        if differing or pair[0].counts != pair[1].counts:
            name = differing[0] if differing else metrics[0]
            values = [record.metrics[name].value for record in pair if name in record.metrics]
            raise ComparisonRefused(
                "two records of one run, with the same split and seeds, differ in their result",
                where=f"{known.path}, {loaded.path}",
                found=" and ".join(f"{value:.4f}" for value in values),
                hint="name only one of the two folders",
            )
    return list(first.values())


def _require_equal_class_counts(grouped: Grouped) -> None:
    """Refuse to average test sets of different numbers of classes: chance is 1/K."""
    first: dict[ColumnKey, LoadedRecord] = {}
    for (_, column), entries in grouped.items():
        for loaded in entries:
            known = first.setdefault(column, loaded)
            counts = [len(entry.record.dataset.classes) for entry in (known, loaded)]
            if counts[0] != counts[1]:
                raise ComparisonRefused(
                    "test sets with different numbers of classes cannot be averaged",
                    where=f"{known.path}, {loaded.path}",
                    found=f"{counts[0]} and {counts[1]} classes",
                    hint="name fewer folders",
                )


def settings_of(record: Record, joined: Collection[str]) -> dict[str, str]:
    """The settings that change a score, besides data, protocol and split: name to printed value.

    Seeds are among these settings where they are not joined.
    """
    video = record.video
    settings = {  # names with blanks, which no option of a method has
        "backbone weights": record.backbone.weights_sha256[:12],
        "backbone quick_gelu": str(record.backbone.quick_gelu),
        "prompt templates": " | ".join(record.prompts.templates),
        "prompt text": str(record.prompts.text_variant),
        "computing precision": record.compute.precision,
        "partial run": str(record.partial),
        "overlap allowed": str(record.overlap_allowed),
        "frame store": sha256_json(video.store)[:12] if video.store else "none",
    }
    if "seeds" not in joined:
        settings |= {f"{use} seed": printable(seed) for use, seed in record.seeds.items()}
    settings |= {name: printable(value) for name, value in record.adapter.config.items()}
    for part, values in {
        "decoder": video.decoder,
        "sampling": video.sampling,
        "preprocessing": video.preprocessing,
    }.items():
        settings |= {f"{part} {name}": printable(value) for name, value in values.items()}
    for override in record.overrides:
        name = f"{override.field} (protocol: {printable(override.protocol)})"
        settings[name] = printable(override.used)
    return settings


def distinguishing(
    records: Sequence[Record], columns: Sequence[Hashable], joined: Collection[str]
) -> list[tuple[tuple[str, str], ...]]:
    """For each record, the (setting, value) pairs that keep it apart from the others.

    columns: the column of each record. Only settings that differ within one column count: a method
    with other settings on another dataset is one row. Hashes of prompts and checkpoint count where
    two records of a column agree in everything else, split and seeds included.
    """
    settings = [settings_of(record, joined) for record in records]
    names = sorted({name for entry in settings for name in entry})
    chosen = [name for name in names if _differs(name, settings, columns)]
    for entry, record in zip(settings, records, strict=True):
        entry["prompts"] = sha256_json(record.prompts.texts)[:12]
        entry["checkpoint"] = (record.adapter.checkpoint_sha256 or "none")[:12]
    runs = [(column, replicate_of(r)) for column, r in zip(columns, records, strict=True)]
    for name in ("prompts", "checkpoint"):
        alike = [
            (run, *(entry.get(other) for other in chosen))
            for run, entry in zip(runs, settings, strict=True)
        ]
        if _differs(name, settings, alike):
            chosen.append(name)
    return [tuple((name, entry.get(name, "none")) for name in chosen) for entry in settings]


def _differs(name: str, settings: Sequence[dict[str, str]], groups: Sequence[Hashable]) -> bool:
    values: dict[Hashable, set[str | None]] = {}
    for entry, group in zip(settings, groups, strict=True):
        values.setdefault(group, set()).add(entry.get(name))
    return any(len(found) > 1 for found in values.values())


def test_set_of(record: Record) -> str:
    """`split`, or `split/part`."""
    dataset = record.dataset
    return dataset.split if dataset.part is None else f"{dataset.split}/{dataset.part}"


def replicate_of(record: Record) -> tuple[str, str]:
    """Which repeat of a run a record is: its split and part, and its seeds."""
    return test_set_of(record), canonical_json(record.seeds)


def printable(value: Any) -> str:
    """A setting's value as text: strings as they are, lists of strings with ` | ` between."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return " | ".join(value)
    return canonical_json(value)
