"""Which records stand in one row, one column and one cell of a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vclip_cli.common.errors import ComparisonRefused
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.names import dataset_order
from vclip_cli.results.record import Record
from vclip_cli.results.settings import distinguishing, replicate_of, test_set_of

PARTS = ("", "base", "novel")


class ColumnKey(NamedTuple):
    """What is joined in one column; shots: 0 for all or none, part: empty for all classes.

    split, part: without the number at their end, so that `test-1`, `test-2`, `test-3` are one
    column, and so are `zs1`, `zs2`, `zs3`, while `test` and `full` are two.
    """

    dataset: str
    shots: int
    part: str
    split: str


class RowKey(NamedTuple):
    """A method as a row names it.

    frames; views (clips and crops): more than one where they differ from dataset to dataset.
    settings: what tells it from other rows of the same name.
    """

    method: str
    backbone: str
    frames: tuple[int, ...]
    views: tuple[tuple[int, int], ...]
    settings: tuple[tuple[str, str], ...] = ()


Grouped = dict[tuple[RowKey, ColumnKey], list[LoadedRecord]]


def group_records(records: Sequence[LoadedRecord]) -> Grouped:
    """The records of each cell: those that differ in nothing but split and seeds."""
    by_label = _by_row(records)
    known = {column_key(loaded.record) for loaded in records}
    grouped: Grouped = {}
    for row, members in by_label.items():
        columns = [column_key(loaded.record) for loaded in members]
        apart = distinguishing([loaded.record for loaded in members], columns)
        for loaded, column, settings in zip(members, columns, apart, strict=True):
            for place in _places(loaded.record, column, known):
                key = (row._replace(settings=settings), place)
                grouped.setdefault(key, []).append(loaded)
    return grouped


def _by_row(records: Sequence[LoadedRecord]) -> dict[RowKey, list[LoadedRecord]]:
    """The records of each method and backbone.

    Frames and views make rows of their own only where one column has several of them: a method that
    looked at 8 frames of one dataset and at 32 of another is one row, as papers print it.
    """
    by_name: dict[tuple[str, str], list[LoadedRecord]] = {}
    for loaded in records:
        row = row_key(loaded.record)
        by_name.setdefault((row.method, row.backbone), []).append(loaded)
    rows: dict[RowKey, list[LoadedRecord]] = {}
    for members in by_name.values():
        keys = [row_key(loaded.record) for loaded in members]
        looks: dict[ColumnKey, set[RowKey]] = {}
        for loaded, key in zip(members, keys, strict=True):
            looks.setdefault(column_key(loaded.record), set()).add(key)
        if all(len(found) == 1 for found in looks.values()):
            frames = tuple(sorted({count for key in keys for count in key.frames}))
            views = tuple(sorted({view for key in keys for view in key.views}))
            keys = [key._replace(frames=frames, views=views) for key in keys]
        for loaded, key in zip(members, keys, strict=True):
            rows.setdefault(key, []).append(loaded)
    return rows


def _places(record: Record, column: ColumnKey, known: set[ColumnKey]) -> list[ColumnKey]:
    """The columns that a record stands in: one, but an untrained method is the baseline of each
    number of shots that others were trained with."""
    if record.adapter.checkpoint_sha256 is not None or column.shots:
        return [column]
    trained = {key for key in known if key.shots and key._replace(shots=0) == column}
    return sorted(trained) or [column]


def without_copies(grouped: Grouped, metrics: Sequence[str]) -> Grouped:
    """Count a run once that was found twice. Raises ComparisonRefused if the results differ."""
    kept: Grouped = {}
    for key, entries in grouped.items():
        first: dict[tuple[str, str], LoadedRecord] = {}
        for loaded in entries:
            known = first.setdefault(replicate_of(loaded.record), loaded)
            pair = [entry.record for entry in (known, loaded)]
            same = pair[0].counts == pair[1].counts
            differing = [m for m in metrics if pair[0].metrics.get(m) != pair[1].metrics.get(m)]
            if differing or not same:
                name = differing[0] if differing else metrics[0]
                values = [record.metrics[name].value for record in pair if name in record.metrics]
                raise ComparisonRefused(
                    "two records of one run, with the same split and seeds, differ in their result",
                    where=f"{known.path}, {loaded.path}",
                    found=" and ".join(f"{value:.4f}" for value in values),
                    hint="name only one of the two folders",
                )
        kept[key] = list(first.values())
    return kept


def row_key(record: Record) -> RowKey:
    """The row of a record, before settings tell it from others of the same name."""
    pretrained = record.backbone.pretrained
    backbone = record.backbone.name
    if pretrained is not None:
        backbone += f" ({Path(pretrained).name})"
    views = record.video.views
    look = ((views.clips, views.crops),)
    return RowKey(record.adapter.name, backbone, (record.video.frames,), look)


def column_key(record: Record) -> ColumnKey:
    """The column of a record."""
    dataset = record.dataset
    shots = record.protocol.shots or 0
    return ColumnKey(
        dataset.name, shots, _unnumbered(dataset.part or ""), _unnumbered(dataset.split)
    )


def column_order(key: ColumnKey) -> tuple[tuple[int, str], int, int, str, str]:
    """Sorts columns by dataset, shots, part (all, base, novel, others) and split."""
    place = PARTS.index(key.part) if key.part in PARTS else len(PARTS)
    return dataset_order(key.dataset), key.shots, place, key.part, key.split


def _unnumbered(name: str) -> str:
    return re.sub(r"[-_ ]?[0-9]+$", "", name)


def test_sets_of(grouped: Grouped, column: ColumnKey) -> set[str]:
    """All splits and parts that a column has records of, in any row."""
    return {
        test_set_of(loaded.record)
        for (_, key), entries in grouped.items()
        if key == column
        for loaded in entries
    }


def require_equal_class_counts(grouped: Grouped) -> None:
    """Raises ComparisonRefused when a column would join test sets of K and of other than K classes.

    Their accuracies are not of one kind: guessing gives 1/K.
    """
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
