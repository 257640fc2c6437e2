"""From the records of one cell to the cell: mean, deviation, interval, and what must be said."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.intervals import mean_interval
from vclip_cli.results.metrics import harmonic_mean
from vclip_cli.results.record import Record, record_fingerprint
from vclip_cli.results.result_table import Cell, Footnotes
from vclip_cli.results.settings import printable, test_set_of


def joined_cell(
    entries: Sequence[LoadedRecord],
    metric: str,
    notes: Footnotes,
    *,
    all_tests: set[str] | None = None,
    say_frames: bool = False,
) -> Cell | None:
    """The cell of one run's repeats; None where one of them lacks the metric.

    all_tests: given where some of them are missing here. say_frames: the row holds other numbers of
    frames or views as well.
    """
    records = [loaded.record for loaded in entries]
    if not records or not all(metric in record.metrics for record in records):
        return None
    measured = [record.metrics[metric] for record in records]
    values = [metric.value for metric in measured]
    low, high = measured[0].low, measured[0].high
    if len(values) > 1:
        low, high = mean_interval(values, 0.0, 100.0 if measured[0].unit == "%" else None)
    return Cell(
        value=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        n=len(records),
        low=low,
        high=high,
        scored=sum(record.counts.scored for record in records),
        listed=sum(record.counts.listed for record in records),
        marks=tuple(_marks(records, notes, all_tests, say_frames)),
        records=tuple(sorted(record_fingerprint(record) for record in records)),
    )


def harmonic_cell(base: Cell | None, novel: Cell | None) -> Cell | None:
    """The harmonic mean of two cells, as base-to-novel tables print it."""
    if base is None or novel is None:
        return None
    return Cell(
        value=harmonic_mean(base.value, novel.value),
        n=min(base.n, novel.n),
        marks=tuple(dict.fromkeys(base.marks + novel.marks)),
        records=tuple(sorted(base.records + novel.records)),
    )


def _marks(
    records: Sequence[Record], notes: Footnotes, all_tests: set[str] | None, say_frames: bool
) -> list[str]:
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
        text = "scored with --allow-overlap, videos of the training list included; not ranked"
        marks[notes.remark(text)] = None
    if say_frames:
        views = records[0].video.views
        several = views.clips * views.crops > 1
        text = f"{records[0].video.frames} frames" + (
            f", {views.clips}×{views.crops} views" if several else ""
        )
        marks[notes.remark(text)] = None
    scored = sum(record.counts.scored for record in records)
    listed = sum(record.counts.listed for record in records)
    if scored != listed:
        over = f" over {len(records)} records" if len(records) > 1 else ""
        marks[notes.remark(f"{scored:,} of {listed:,} listed videos scored{over}")] = None
    if all_tests is not None:
        here = ", ".join(sorted({test_set_of(record) for record in records}))
        text = f"only {here} of {', '.join(sorted(all_tests))}; not ranked"
        marks[notes.remark(text)] = None
    return list(marks)
