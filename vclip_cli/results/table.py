"""Tables of results: methods in rows, datasets in columns, from records alone."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from vclip_cli.errors import ComparisonRefused, UsageError, did_you_mean
from vclip_cli.results.collect import (
    LoadedRecord,
    group_by_protocol,
    leave_out_partial,
    require_equal_test_sets,
    require_one_protocol,
)
from vclip_cli.results.grouping import (
    ColumnKey,
    RowKey,
    column_order,
    group_records,
    require_equal_class_counts,
    test_sets_of,
    without_copies,
)
from vclip_cli.results.metrics import harmonic_mean
from vclip_cli.results.record import record_fingerprint
from vclip_cli.results.result_table import (
    Cell,
    Column,
    Footnote,
    Footnotes,
    ResultTable,
    rank_columns,
)
from vclip_cli.results.settings import printable, test_set_of

METRIC_TITLES = {
    "top1": "top-1 accuracy",
    "top5": "top-5 accuracy",
    "mean_class_accuracy": "mean class accuracy",
    "map": "mAP",
    "map_micro": "micro mAP",
}
MAIN_METRICS = ("top1", "map")
HARMONIC = "HM"
DIGITS = 1


def build_tables(
    records: Sequence[LoadedRecord],
    metric: str | None = None,
    *,
    partial: bool = False,
    by_protocol: bool = False,
) -> list[ResultTable]:
    """One table, or with `by_protocol` one for each protocol.

    metric: a name in the records' metrics; by default `top1`, or `map` where there is no top1.
    partial: show partial records too, marked and not ranked. Raises ComparisonRefused when the
    records cannot be compared, UsageError for an unknown metric, DataError when none is left.
    """
    if not partial:
        records = leave_out_partial(records)
    if not by_protocol:
        require_one_protocol(records)
    return [build_table(group, metric) for group in group_by_protocol(records)]


def build_table(records: Sequence[LoadedRecord], metric: str | None = None) -> ResultTable:
    """The table of records that follow one protocol; see `build_tables`.

    Repeats of a run over splits and seeds are joined to mean and sample standard deviation. A
    cell that lacks a split which others in its column have is marked and not ranked.
    """
    require_one_protocol(records)
    require_equal_test_sets(records)
    metric = _choose_metric(records, metric)
    unit = _one_unit(records, metric)
    grouped = without_copies(group_records(records), metric)
    require_equal_class_counts(grouped)
    rows = sorted({row for row, _ in grouped})
    keys = sorted({column for _, column in grouped}, key=column_order)
    notes = Footnotes()
    tests = {key: test_sets_of(grouped, key) for key in keys}
    cells: list[list[Cell | None]] = []
    rankable: list[list[bool]] = []
    for row in rows:
        joined = [grouped.get((row, key), []) for key in keys]
        whole = [
            {test_set_of(entry.record) for entry in entries} == tests[key]
            for key, entries in zip(keys, joined, strict=True)
        ]
        fair = [
            complete and not any(e.record.partial or e.record.overlap_allowed for e in entries)
            for complete, entries in zip(whole, joined, strict=True)
        ]
        line = [
            _join(entries, metric, notes, None if complete else tests[key]) if entries else None
            for key, entries, complete in zip(keys, joined, whole, strict=True)
        ]
        cells.append(_with_harmonic(line, keys))
        rankable.append(_with_harmonic_fair(fair, keys))
    columns = _columns(keys, tests)
    headers, labels = _row_labels(rows)
    repeats = {cell.n for line in cells for cell in line if cell is not None}
    general: tuple[Footnote, ...] = ()
    if max(repeats) > 1:
        count = f"{max(repeats)} records" if len(repeats) == 1 else "n records"
        text = f"mean ± sample standard deviation over {count} (splits, parts or seeds)"
        general = (Footnote("", text),)
    return ResultTable(
        title=_title(records, metric, unit),
        unit=unit,
        row_headers=headers,
        rows=labels,
        columns=columns,
        cells=tuple(map(tuple, rank_columns(cells, rankable, DIGITS))),
        footnotes=general + notes.listed(),
        show_n=len(repeats) > 1,
        digits=DIGITS,
    )


def _choose_metric(records: Sequence[LoadedRecord], metric: str | None) -> str:
    known = {name: None for loaded in records for name in loaded.record.metrics}
    wanted = [metric] if metric is not None else MAIN_METRICS
    for name in wanted:
        if all(name in loaded.record.metrics for loaded in records):
            return name
    if metric is None or metric in known:
        name = metric or MAIN_METRICS[0]
        lacking = next(entry for entry in records if name not in entry.record.metrics)
        raise UsageError(
            f"not every record has the metric {name!r}",
            where=str(lacking.path),
            found=", ".join(lacking.record.metrics),
            hint="choose another with --metric, or name fewer folders",
        )
    raise UsageError(f"no record has the metric {metric!r}", hint=did_you_mean(metric, known))


def _one_unit(records: Sequence[LoadedRecord], metric: str) -> str:
    units = {loaded.record.metrics[metric].unit: loaded for loaded in records}
    if len(units) > 1:
        raise ComparisonRefused(
            f"the records give {metric} in different units",
            where=", ".join(str(loaded.path) for loaded in units.values()),
            found=", ".join(sorted(units)),
        )
    return next(iter(units))


def _join(
    entries: Sequence[LoadedRecord], metric: str, notes: Footnotes, all_tests: set[str] | None
) -> Cell:
    """The cell of one run's repeats. all_tests: given where some of them are missing here."""
    records = [loaded.record for loaded in entries]
    values = [record.metrics[metric].value for record in records]
    scored = sum(record.counts.scored for record in records)
    listed = sum(record.counts.listed for record in records)
    marks: dict[str, None] = {}
    for record in records:
        for override in record.overrides:
            used, stated = printable(override.used), printable(override.protocol)
            text = f"{override.field}: {used} instead of the protocol's {stated}"
            marks[notes.override(text)] = None
        for text in record.marks:
            marks[notes.remark(text)] = None
    if any(record.partial for record in records):
        marks[notes.partial("partial: scored with --limit; not ranked")] = None
    if any(record.overlap_allowed for record in records):
        marks[
            notes.remark(
                "scored with --allow-overlap, videos of the training list included; not ranked"
            )
        ] = None
    if scored != listed:
        over = f" over {len(records)} records" if len(records) > 1 else ""
        marks[notes.remark(f"{scored:,} of {listed:,} listed videos scored{over}")] = None
    if all_tests is not None:
        here = ", ".join(sorted({test_set_of(record) for record in records}))
        text = f"only {here} of {', '.join(sorted(all_tests))}; not ranked"
        marks[notes.remark(text)] = None
    alone = records[0].metrics[metric] if len(records) == 1 else None
    return Cell(
        value=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(records),
        low=alone.low if alone else None,
        high=alone.high if alone else None,
        scored=scored,
        listed=listed,
        marks=tuple(marks),
        records=tuple(sorted(record_fingerprint(record) for record in records)),
    )


def _pairs(keys: Sequence[ColumnKey]) -> dict[int, int]:
    """The position of each novel column to that of its base column.

    Both parts mostly come from one split; where they do not, the only base column is taken.
    """
    pairs = {}
    for position, key in enumerate(keys):
        bases = [k for k in keys if k[:3] == (key.dataset, key.shots, "base")]
        base = key._replace(part="base")
        if key.part == "novel" and (base in bases or len(bases) == 1):
            pairs[position] = keys.index(base if base in bases else bases[0])
    return pairs


def _with_harmonic(line: Sequence[Cell | None], keys: Sequence[ColumnKey]) -> list[Cell | None]:
    pairs = _pairs(keys)
    extended: list[Cell | None] = []
    for position, cell in enumerate(line):
        extended.append(cell)
        if position in pairs:
            base = line[pairs[position]]
            extended.append(_harmonic_cell(base, cell) if base and cell else None)
    return extended


def _with_harmonic_fair(fair: Sequence[bool], keys: Sequence[ColumnKey]) -> list[bool]:
    pairs = _pairs(keys)
    extended: list[bool] = []
    for position, value in enumerate(fair):
        extended.append(value)
        if position in pairs:
            extended.append(value and fair[pairs[position]])
    return extended


def _harmonic_cell(base: Cell, novel: Cell) -> Cell:
    return Cell(
        value=harmonic_mean(base.value, novel.value),
        n=min(base.n, novel.n),
        marks=tuple(dict.fromkeys(base.marks + novel.marks)),
        records=tuple(sorted(base.records + novel.records)),
    )


def _columns(keys: Sequence[ColumnKey], tests: Mapping[ColumnKey, set[str]]) -> tuple[Column, ...]:
    several_shots = len({key.shots for key in keys}) > 1
    pairs = _pairs(keys)
    columns: list[Column] = []
    for position, key in enumerate(keys):
        shots = f"{key.shots}-shot" if several_shots and key.shots else ""
        columns.append(Column(key.dataset, f"{shots} {_test_title(key, keys, tests)}".strip()))
        if position in pairs:
            columns.append(Column(key.dataset, f"{shots} {HARMONIC}".strip()))
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


def _row_labels(rows: Sequence[RowKey]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    headers = ("Method", "Backbone", "Frames", "Views")
    labels = [
        (row.method, row.backbone, str(row.frames), f"{row.views[0]}×{row.views[1]}")
        for row in rows
    ]
    if not any(row.settings for row in rows):
        return headers, tuple(labels)
    settings = [", ".join(f"{name}={value}" for name, value in row.settings) for row in rows]
    return (*headers, "Settings"), tuple(
        (*label, text) for label, text in zip(labels, settings, strict=True)
    )


def _title(records: Sequence[LoadedRecord], metric: str, unit: str) -> str:
    protocol = records[0].record.protocol
    shots = {loaded.record.protocol.shots for loaded in records}
    only = next(iter(shots))
    few = f", {only}-shot" if len(shots) == 1 and only is not None else ""
    name = METRIC_TITLES.get(metric, metric)
    return (
        f"{protocol.name}, version {protocol.version} ({protocol.sha256[:12]}){few}: "
        f"{name} ({unit})"
    )
