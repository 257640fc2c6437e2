"""What a table shows: its metrics and costs, its columns, the names of its rows, its cells."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from vclip_cli.common.errors import ComparisonRefused, UsageError, did_you_mean
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.grouping import (
    DATASETS,
    ColumnKey,
    Grouped,
    RowKey,
    column_order,
    group_records,
    joined_repeats,
    printable,
    test_set_of,
)
from vclip_cli.results.intervals import mean_interval
from vclip_cli.results.measure import described, with_extensions
from vclip_cli.results.record import Record, RecordedAggregate, record_fingerprint
from vclip_cli.results.result_table import Cell, Column, Footnotes, TableRow
from vclip_cli.results.scores import harmonic_mean

MAIN_METRICS = ("top1", "map")
"""The main metrics of records of vclip 0.1, which do not state the protocol's metrics."""
HARMONIC = "HM"
HEADERS = ("Method", "Backbone", "Frames", "Views")
COSTS = ("GFLOPs", "Trainable (M)")
SETTINGS = "Settings"


@dataclass(frozen=True)
class Place:
    """A column. base: set for the harmonic mean of the columns `base` and `key`."""

    key: ColumnKey
    metric: str
    base: ColumnKey | None = None


@dataclass(frozen=True)
class TableLayout:
    """The rows and columns of the table of one protocol, and the records of each cell.

    units: of each metric. joined: which repeats share a cell. costs: whether rows show them.
    """

    records: Sequence[LoadedRecord]
    metrics: tuple[str, ...]
    units: dict[str, str]
    joined: RecordedAggregate
    grouped: Grouped
    costs: bool

    @classmethod
    def of(
        cls, records: Sequence[LoadedRecord], asked: Sequence[str] | None, costs: bool | None
    ) -> TableLayout:
        """The layout of records that follow one protocol.

        asked: metrics, by default the protocol's. costs: by default where all methods used several
        views of a video, which multiply the cost. Raises UsageError and ComparisonRefused.
        """
        metrics = shown_metrics(records, asked)
        if costs is None:
            costs = all(math.prod(loaded.record.views) > 1 for loaded in records)
        units = {name: common_unit(records, name) for name in metrics}
        joined = joined_repeats(records)
        grouped = group_records(records, metrics, joined.over)
        return cls(records, metrics, units, joined, grouped, costs)

    @cached_property
    def rows(self) -> list[RowKey]:
        """The methods, sorted."""
        return sorted({row for row, _ in self.grouped})

    @cached_property
    def tests(self) -> dict[ColumnKey, set[str]]:
        """For each column in order, the splits and parts that any row has records of."""
        tests: dict[ColumnKey, set[str]] = {}
        for (_, key), entries in self.grouped.items():
            tests.setdefault(key, set()).update(test_set_of(loaded.record) for loaded in entries)
        return {key: tests[key] for key in sorted(tests, key=column_order)}

    @cached_property
    def places(self) -> list[Place]:
        """All columns in order; by metric within one dataset and number of shots."""
        places = []
        for _, members in groupby(self.tests, key=lambda key: (key.dataset, key.shots)):
            group = list(members)
            for metric in self.metrics:
                for key in group:
                    places.append(Place(key, metric))
                    if base := self._base_of(key):
                        places.append(Place(key, metric, base))
        return places

    def _base_of(self, key: ColumnKey) -> ColumnKey | None:
        """The base column for a novel column: that of the same split, else the only one."""
        if key.part != "novel" or not self.joined.harmonic_mean:
            return None
        bases = [other for other in self.tests if other[:3] == (key.dataset, key.shots, "base")]
        base = key._replace(part="base")
        if base not in bases and len(bases) != 1:
            return None
        return base if base in bases else bases[0]

    def columns(self) -> tuple[Column, ...]:
        """The columns, with the shortest headers that tell them apart."""
        several_shots = len({key.shots for key in self.tests}) > 1
        several_units = len(set(self.units.values())) > 1
        columns = []
        for place in self.places:
            key, metric = place.key, described(place.metric)
            shots = f"{key.shots}-shot" if several_shots and key.shots else ""
            words = [shots, self._test_title(place)]
            if len(self.metrics) > 1:
                words.append(metric.title.removesuffix(" accuracy"))
            unit = self.units[place.metric] if several_units else None
            if unit is not None:
                words.append(f"({unit})")
            name = " ".join(word for word in words if word)
            digits = metric.digits if metric.digits != 1 else None
            columns.append(Column(DATASETS.get(key.dataset, key.dataset), name, digits, unit))
        return tuple(columns)

    def _test_title(self, place: Place) -> str:
        """The part, and the split where the dataset has several; the full name of a lone test."""
        split, part = place.key.split, place.key.part
        if len(self.tests[place.key]) == 1:
            split, _, part = next(iter(self.tests[place.key])).partition("/")
        several = sum(other[:3] == place.key[:3] for other in self.tests) > 1
        return f"{split if several else ''} {HARMONIC if place.base else part}".strip()

    @cached_property
    def headers(self) -> tuple[str, ...]:
        """The headers of the columns that name a row."""
        settings = (SETTINGS,) if any(row.settings for row in self.rows) else ()
        return (*HEADERS, *(COSTS if self.costs else ()), *settings)

    def label(self, row: RowKey) -> tuple[str, ...]:
        """The texts of a row under the headers."""
        members = [e.record for (own, _), es in self.grouped.items() if own == row for e in es]
        costs = sorted({r.cost.multiply_adds_per_video for r in members if r.cost is not None})
        trained = sorted({record.adapter.trainable_parameters for record in members})
        gflops = dict.fromkeys(f"{n / 1e9:,.{1 if n >= 1e10 else 2}f}" for n in costs)
        texts = {
            "Method": row.method,
            "Backbone": row.backbone,
            "Frames": listed(row.frames),
            "Views": listed(map(views_text, row.views)),
            "GFLOPs": listed(gflops) or "–",
            "Trainable (M)": listed(dict.fromkeys(f"{n / 1e6:,.2f}" for n in trained)),
            SETTINGS: ", ".join(f"{name}={value}" for name, value in row.settings),
        }
        return tuple(texts[header] for header in self.headers)

    def line(self, row: RowKey, notes: Footnotes) -> TableRow:
        """A row with its cells. Partial, overlapping and incomplete cells are not ranked."""
        cells = [self._cell(row, place, notes) for place in self.places]
        rankable = [
            all(self._is_fair(row, key) for key in (place.key, place.base) if key is not None)
            for place in self.places
        ]
        return TableRow(self.label(row), cells, rankable)

    def _is_whole(self, row: RowKey, key: ColumnKey) -> bool:
        """Whether a cell has all splits and parts that others in its column have."""
        entries = self.grouped.get((row, key), [])
        return {test_set_of(loaded.record) for loaded in entries} == self.tests[key]

    def _is_fair(self, row: RowKey, key: ColumnKey) -> bool:
        records = [loaded.record for loaded in self.grouped.get((row, key), [])]
        unfair = any(record.partial or record.overlap_allowed for record in records)
        return self._is_whole(row, key) and not unfair

    def _cell(self, row: RowKey, place: Place, notes: Footnotes) -> Cell | None:
        """The cell of one run's repeats; None where one of them lacks the metric."""
        if place.base is not None:
            base = self._cell(row, Place(place.base, place.metric), notes)
            return _harmonic_cell(base, self._cell(row, Place(place.key, place.metric), notes))
        records = [loaded.record for loaded in self.grouped.get((row, place.key), [])]
        if not records or not all(place.metric in record.metrics for record in records):
            return None
        measured = [record.metrics[place.metric] for record in records]
        values = [metric.value for metric in measured]
        low, high = measured[0].low, measured[0].high
        if len(values) > 1:
            limits = (0.0, 100.0) if measured[0].unit == "%" else (-math.inf, math.inf)
            low, high = mean_interval(values, *limits)
        return Cell(
            value=statistics.fmean(values),
            std=statistics.stdev(values) if len(values) > 1 else None,
            n=len(records),
            low=low,
            high=high,
            scored=sum(record.counts.scored for record in records),
            listed=sum(record.counts.listed for record in records),
            marks=tuple(self._marks(row, place.key, records, notes)),
            records=tuple(sorted(record_fingerprint(record) for record in records)),
        )

    def _marks(
        self, row: RowKey, key: ColumnKey, records: Sequence[Record], notes: Footnotes
    ) -> dict[str, None]:
        """The marks of a cell, each once."""
        marks = []
        for override in (entry for record in records for entry in record.overrides):
            used, stated = printable(override.used), printable(override.protocol)
            text = f"{override.field}: {used} instead of the protocol's {stated}"
            marks.append(notes.override(text))
        marks += record_marks(
            records,
            notes,
            "partial: scored with --limit; not ranked",
            "scored with --allow-overlap, videos of the training list included; not ranked",
        )
        if len(row.frames) * len(row.views) > 1:
            frames, views = records[0].video.frames, records[0].views
            several = f", {views_text(views)} views" if views != (1, 1) else ""
            marks.append(notes.remark(f"{frames} frames{several}"))
        marks += scored_mark(records, notes)
        if not self._is_whole(row, key):
            here, there = {test_set_of(record) for record in records}, self.tests[key]
            text = f"only {listed(sorted(here))} of {listed(sorted(there))}; not ranked"
            marks.append(notes.remark(text))
        return dict.fromkeys(marks)


def _harmonic_cell(base: Cell | None, novel: Cell | None) -> Cell | None:
    """The harmonic mean of two cells, as base-to-novel tables print it."""
    if base is None or novel is None:
        return None
    return Cell(
        value=harmonic_mean(base.value, novel.value),
        n=min(base.n, novel.n),
        marks=tuple(dict.fromkeys(base.marks + novel.marks)),
        records=tuple(sorted(base.records + novel.records)),
    )


def shown_metrics(records: Sequence[LoadedRecord], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The metrics that were asked for, else those of the protocol, in its order.

    Records of vclip 0.1 do not state the protocol's metrics. They show `top1`, or without it all
    their metrics. Raises UsageError for a metric that is unknown or that a record lacks.
    """
    if asked:
        return tuple(_required(records, name) for name in dict.fromkeys(asked))
    by_size = sorted(records, key=lambda e: (-len(e.record.metrics), str(e.path)))
    held = list(dict.fromkeys(name for entry in by_size for name in entry.record.metrics))
    stated = with_extensions(_stated(records))
    if shown := tuple(name for name in stated if name in held):
        return shown
    main = next((name for name in MAIN_METRICS if _in_all(records, name)), MAIN_METRICS[0])
    return tuple(held) if main == "map" else (_required(records, main),)


def main_metric(records: Sequence[LoadedRecord]) -> str:
    """The first metric of the protocol that all records have. Raises UsageError without one."""
    wanted = _stated(records) or MAIN_METRICS
    for name in wanted:
        if _in_all(records, name):
            return name
    raise UsageError(
        "the records have no main metric in common",
        expected=" or ".join(wanted),
        hint="choose one with --metric",
    )


def _stated(records: Sequence[LoadedRecord]) -> list[str]:
    """The protocol's metrics; none where the records do not state them."""
    stated = (loaded.record.protocol.metrics for loaded in records)
    return next((metrics for metrics in stated if metrics is not None), [])


def _in_all(records: Sequence[LoadedRecord], name: str) -> bool:
    return all(name in loaded.record.metrics for loaded in records)


def _required(records: Sequence[LoadedRecord], name: str) -> str:
    known = {held: None for loaded in records for held in loaded.record.metrics}
    if _in_all(records, name):
        return name
    if name not in known and name != MAIN_METRICS[0]:
        raise UsageError(f"no record has the metric {name!r}", hint=did_you_mean(name, known))
    lacking = next(entry for entry in records if name not in entry.record.metrics)
    raise UsageError(
        f"not every record has the metric {name!r}",
        where=str(lacking.path),
        found=", ".join(lacking.record.metrics),
        hint="choose another with --metric, or name fewer folders",
    )


def common_unit(records: Sequence[LoadedRecord], metric: str) -> str:
    """The unit of a metric. Raises ComparisonRefused when the records differ in it."""
    having = [loaded for loaded in records if metric in loaded.record.metrics]
    units = {loaded.record.metrics[metric].unit: loaded for loaded in having}
    if len(units) > 1:
        raise ComparisonRefused(
            f"the records give {metric} in different units",
            where=listed(loaded.path for loaded in units.values()),
            found=", ".join(sorted(units)),
            hint="name fewer folders",
        )
    return next(iter(units))


def record_marks(
    records: Sequence[Record], notes: Footnotes, partial: str, overlap: str
) -> list[str]:
    """The marks for remarks of the records, partial runs and allowed overlap.

    partial, overlap: the texts of the footnotes for these two.
    """
    marks = [notes.remark(text) for record in records for text in record.marks]
    if any(record.partial for record in records):
        marks.append(notes.partial(partial))
    if any(record.overlap_allowed for record in records):
        marks.append(notes.remark(overlap))
    return marks


def scored_mark(records: Sequence[Record], notes: Footnotes) -> list[str]:
    """The mark for a result in which some listed videos were not scored."""
    counts = [record.counts for record in records]
    scored, of = sum(count.scored for count in counts), sum(count.listed for count in counts)
    over = f" over {len(records)} records" if len(records) > 1 else ""
    text = f"{scored:,} of {of:,} listed videos scored{over}"
    return [notes.remark(text)] if scored != of else []


def views_text(views: tuple[int, int]) -> str:
    """Temporal clips times spatial crops."""
    return f"{views[0]}×{views[1]}"


def listed(values: Iterable[object]) -> str:
    """Values with commas between."""
    return ", ".join(map(str, values))
