"""Tables of results: methods in rows, datasets in columns, from records alone."""

from __future__ import annotations

from collections.abc import Sequence

from vclip_cli.results.cells import harmonic_cell, joined_cell
from vclip_cli.results.collect import (
    LoadedRecord,
    group_by_protocol,
    leave_out_partial,
    other_manifests,
    require_equal_test_sets,
    require_one_protocol,
)
from vclip_cli.results.columns import Place, headed, plan_places
from vclip_cli.results.grouping import (
    ColumnKey,
    Grouped,
    RowKey,
    column_order,
    group_records,
    require_equal_class_counts,
    test_sets_of,
    without_copies,
)
from vclip_cli.results.layout import MAIN_METRICS as MAIN_METRICS
from vclip_cli.results.layout import choose_layout, common_unit
from vclip_cli.results.names import LOWER_IS_BETTER, metric_title
from vclip_cli.results.published import Published
from vclip_cli.results.published_rows import Surroundings, published_block
from vclip_cli.results.result_table import (
    Block,
    Cell,
    Footnote,
    Footnotes,
    ResultTable,
    rank_columns,
)
from vclip_cli.results.rows import GFLOPS_NOTE, label_rows
from vclip_cli.results.settings import test_set_of

DIGITS = 1
INTERVALS_NOTE = (
    "in brackets 95 % intervals: of one record over its videos (Wilson for accuracies, else a"
    " bootstrap), of a mean over records by Student's t"
)


def build_tables(
    records: Sequence[LoadedRecord],
    metric: str | Sequence[str] | None = None,
    *,
    partial: bool = False,
    by_protocol: bool = False,
    costs: bool | None = None,
    intervals: bool = False,
    published: Published | None = None,
    rank_published: bool = False,
) -> list[ResultTable]:
    """One table, or with `by_protocol` one for each protocol.

    metric: names in the records' metrics; by default what papers print (`choose_layout`), as for
    costs, whether GFLOPs and trainable parameters are shown. partial: show partial records too,
    marked and not ranked. intervals: print 95 % intervals. published: papers' figures to put into a
    block of their own; rank_published: rank them and ours together. Raises ComparisonRefused when
    the records cannot be compared, UsageError for an unknown metric, DataError when none is left.
    """
    if not partial:
        records = leave_out_partial(records)
    if not by_protocol:
        require_one_protocol(records)
    metrics = (metric,) if isinstance(metric, str) else metric
    return [
        build_table(
            group,
            metrics,
            costs=costs,
            intervals=intervals,
            published=published,
            rank_published=rank_published,
        )
        for group in group_by_protocol(records)
    ]


def build_table(
    records: Sequence[LoadedRecord],
    metrics: Sequence[str] | None = None,
    *,
    costs: bool | None = None,
    intervals: bool = False,
    published: Published | None = None,
    rank_published: bool = False,
) -> ResultTable:
    """The table of records that follow one protocol; see `build_tables`.

    Repeats of a run over splits and seeds are joined to mean and sample standard deviation. A
    cell that lacks a split which others in its column have is marked and not ranked.
    """
    require_one_protocol(records)
    require_equal_test_sets(records)
    layout = choose_layout(records, metrics, costs)
    units = {name: common_unit(records, name) for name in layout.metrics}
    grouped = without_copies(group_records(records), layout.metrics)
    require_equal_class_counts(grouped)
    rows = sorted({row for row, _ in grouped})
    keys = sorted({column for _, column in grouped}, key=column_order)
    tests = {key: test_sets_of(grouped, key) for key in keys}
    places = plan_places(keys, layout.metrics)
    notes = Footnotes()
    cells = [_line(row, places, grouped, tests, notes) for row in rows]
    rankable = [_rankable(row, places, grouped, tests) for row in rows]
    general = _general_notes(cells, records, layout.costs, intervals)
    headers, labels = label_rows(rows, [_members(row, grouped) for row in rows], layout.costs)
    row_marks: list[tuple[str, ...]] = [()] * len(rows)
    blocks: tuple[Block, ...] = ()
    if published is not None:
        around = Surroundings(records[0].record.protocol.name, grouped, places, tests, headers)
        block = published_block(published, around, notes, ranked=rank_published)
        blocks = (Block("", len(rows)), Block(block.title, len(block.labels)))
        general += block.general
        labels += block.labels
        cells += block.cells
        row_marks += block.marks
        rankable += [[rank_published] * len(places) for _ in block.labels]
    lowest = [n for n, place in enumerate(places) if place.metric in LOWER_IS_BETTER]
    repeats = {cell.n for line in cells[: len(rows)] for cell in line if cell is not None}
    return ResultTable(
        title=_title(records, layout.metrics, units),
        unit=", ".join(dict.fromkeys(units.values())),
        row_headers=headers,
        rows=labels,
        columns=headed(places, keys, tests, units),
        cells=tuple(map(tuple, rank_columns(cells, rankable, DIGITS, lowest))),
        footnotes=general + notes.listed(),
        show_n=len(repeats) > 1,
        digits=DIGITS,
        intervals=intervals,
        blocks=blocks,
        row_marks=tuple(row_marks) if any(row_marks) else (),
    )


def _members(row: RowKey, grouped: Grouped) -> list[LoadedRecord]:
    return [entry for (other, _), entries in grouped.items() if other == row for entry in entries]


def _line(
    row: RowKey,
    places: Sequence[Place],
    grouped: Grouped,
    tests: dict[ColumnKey, set[str]],
    notes: Footnotes,
) -> list[Cell | None]:
    several = len(row.frames) * len(row.views) > 1
    own: dict[tuple[ColumnKey, str], Cell | None] = {}
    line = []
    for place in places:
        if place.base is not None:
            base, novel = own[place.base, place.metric], own[place.key, place.metric]
            line.append(harmonic_cell(base, novel))
            continue
        entries = grouped.get((row, place.key), [])
        whole = _is_whole(entries, tests[place.key])
        cell = joined_cell(
            entries,
            place.metric,
            notes,
            all_tests=None if whole else tests[place.key],
            say_frames=several,
        )
        own[place.key, place.metric] = cell
        line.append(cell)
    return line


def _rankable(
    row: RowKey, places: Sequence[Place], grouped: Grouped, tests: dict[ColumnKey, set[str]]
) -> list[bool]:
    def fair(key: ColumnKey) -> bool:
        entries = grouped.get((row, key), [])
        unfair = any(e.record.partial or e.record.overlap_allowed for e in entries)
        return _is_whole(entries, tests[key]) and not unfair

    return [fair(place.key) and (place.base is None or fair(place.base)) for place in places]


def _is_whole(entries: Sequence[LoadedRecord], tests: set[str]) -> bool:
    return {test_set_of(entry.record) for entry in entries} == tests


def _general_notes(
    cells: Sequence[Sequence[Cell | None]],
    records: Sequence[LoadedRecord],
    costs: bool,
    intervals: bool,
) -> tuple[Footnote, ...]:
    repeats = {cell.n for line in cells for cell in line if cell is not None}
    texts = []
    if max(repeats) > 1:
        count = f"{max(repeats)} records" if len(repeats) == 1 else "n records"
        texts.append(f"mean ± sample standard deviation over {count} (splits, parts or seeds)")
    texts += [INTERVALS_NOTE] if intervals else []
    texts += [GFLOPS_NOTE] if costs else []
    texts += other_manifests(records)
    return tuple(Footnote("", text) for text in texts)


def _title(records: Sequence[LoadedRecord], metrics: Sequence[str], units: dict[str, str]) -> str:
    protocol = records[0].record.protocol
    shots = {loaded.record.protocol.shots for loaded in records}
    only = next(iter(shots))
    few = f", {only}-shot" if len(shots) == 1 and only is not None else ""
    names = ", ".join(map(metric_title, metrics))
    unit = ", ".join(dict.fromkeys(units.values()))
    head = f"{protocol.name}, version {protocol.version} ({protocol.sha256[:12]})"
    return f"{head}{few}: {names} ({unit})"
