"""The printed parts of a table: row names, cell values and footnote marks, from records."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.grouping import RowKey, printable, test_set_of
from vclip_cli.results.intervals import mean_interval
from vclip_cli.results.ranking import harmonic_mean
from vclip_cli.results.record import Record, record_fingerprint
from vclip_cli.results.result_table import Cell, Footnotes

HEADERS = ("Method", "Backbone", "Frames", "Views")
COSTS = ("GFLOPs", "Trainable (M)")
SETTINGS = "Settings"


def label_rows(
    rows: Sequence[RowKey], members: Sequence[Sequence[LoadedRecord]], costs: bool
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The headers and the texts of all rows. members: the records of each row."""
    with_settings = any(row.settings for row in rows)
    headers = (*HEADERS, *(COSTS if costs else ()), *((SETTINGS,) if with_settings else ()))
    labels = []
    for row, entries in zip(rows, members, strict=True):
        label = [row.method, row.backbone, listed(row.frames), listed(map(views_text, row.views))]
        if costs:
            label += [_gflops(entries), _trainable(entries)]
        if with_settings:
            label.append(", ".join(f"{name}={value}" for name, value in row.settings))
        labels.append(tuple(label))
    return headers, tuple(labels)


def views_text(views: tuple[int, int]) -> str:
    """Temporal clips times spatial crops."""
    return f"{views[0]}×{views[1]}"


def listed(values: Iterable[object]) -> str:
    """Values with commas between."""
    return ", ".join(map(str, values))


def _gflops(entries: Sequence[LoadedRecord]) -> str:
    costs = [entry.record.cost for entry in entries]
    counted = sorted({cost.multiply_adds_per_video for cost in costs if cost is not None})
    texts = [f"{count / 1e9:,.{1 if count >= 1e10 else 2}f}" for count in counted]
    return listed(dict.fromkeys(texts)) or "–"


def _trainable(entries: Sequence[LoadedRecord]) -> str:
    counts = sorted({entry.record.adapter.trainable_parameters for entry in entries})
    return listed(dict.fromkeys(f"{count / 1e6:,.2f}" for count in counts))


def joined_cell(
    entries: Sequence[LoadedRecord],
    metric: str,
    notes: Footnotes,
    *,
    all_tests: set[str] | None = None,
    say_frames: bool = False,
) -> Cell | None:
    """The cell of one run's repeats; None where one of them lacks the metric.

    all_tests: set where some of them are missing here. say_frames: whether the row has results of
    other numbers of frames or views as well.
    """
    records = [loaded.record for loaded in entries]
    if not records or not all(metric in record.metrics for record in records):
        return None
    measured = [record.metrics[metric] for record in records]
    values = [metric.value for metric in measured]
    low, high = measured[0].low, measured[0].high
    if len(values) > 1:
        limits = (0.0, 100.0) if measured[0].unit == "%" else (None, None)
        low, high = mean_interval(values, *limits)
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


def record_marks(
    records: Sequence[Record], notes: Footnotes, partial: str, overlap: str
) -> list[str]:
    """The marks for remarks of the records, partial runs and allowed overlap.

    partial, overlap: the texts of these two footnotes.
    """
    marks = [notes.remark(text) for record in records for text in record.marks]
    if any(record.partial for record in records):
        marks.append(notes.partial(partial))
    if any(record.overlap_allowed for record in records):
        marks.append(notes.remark(overlap))
    return marks


def scored_mark(records: Sequence[Record], notes: Footnotes) -> list[str]:
    """The mark of how many listed videos were scored, where some were not."""
    scored = sum(record.counts.scored for record in records)
    listed = sum(record.counts.listed for record in records)
    over = f" over {len(records)} records" if len(records) > 1 else ""
    text = f"{scored:,} of {listed:,} listed videos scored{over}"
    return [notes.remark(text)] if scored != listed else []


def _marks(
    records: Sequence[Record], notes: Footnotes, all_tests: set[str] | None, say_frames: bool
) -> list[str]:
    marks = []
    for record in records:
        for override in record.overrides:
            used, stated = printable(override.used), printable(override.protocol)
            text = f"{override.field}: {used} instead of the protocol's {stated}"
            marks.append(notes.override(text))
    marks += record_marks(
        records,
        notes,
        "partial: scored with --limit; not ranked",
        "scored with --allow-overlap, videos of the training list included; not ranked",
    )
    if say_frames:
        video = records[0].video
        views = (video.views.clips, video.views.crops)
        several = f", {views_text(views)} views" if views != (1, 1) else ""
        marks.append(notes.remark(f"{video.frames} frames{several}"))
    marks += scored_mark(records, notes)
    if all_tests is not None:
        here = ", ".join(sorted({test_set_of(record) for record in records}))
        text = f"only {here} of {', '.join(sorted(all_tests))}; not ranked"
        marks.append(notes.remark(text))
    return list(dict.fromkeys(marks))
