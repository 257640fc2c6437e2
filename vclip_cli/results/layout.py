"""What a table shows: its metrics and costs, its columns, the names of its rows, its cells."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from vclip_cli.common.errors import ComparisonRefused, UsageError, did_you_mean
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.grouping import DATASETS, ColumnKey, RowKey, printable, test_set_of
from vclip_cli.results.intervals import mean_interval
from vclip_cli.results.measure import described, with_extensions
from vclip_cli.results.record import Record, record_fingerprint
from vclip_cli.results.result_table import Cell, Column, Footnotes
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


def shown_metrics(records: Sequence[LoadedRecord], asked: Sequence[str] | None) -> tuple[str, ...]:
    """The metrics that were asked for, else those of the protocol, in its order.

    Records of vclip 0.1 do not state the protocol's metrics: they show `top1`, or every metric
    that they hold where there is no `top1`. Raises UsageError for a metric that is unknown or that
    a record lacks.
    """
    if asked:
        return tuple(_required(records, name) for name in dict.fromkeys(asked))
    stated = next((m for e in records if (m := e.record.protocol.metrics) is not None), [])
    by_size = sorted(records, key=lambda e: (-len(e.record.metrics), str(e.path)))
    held = list(dict.fromkeys(name for entry in by_size for name in entry.record.metrics))
    if shown := tuple(name for name in with_extensions(stated) if name in held):
        return shown
    main = next((name for name in MAIN_METRICS if _in_all(records, name)), None)
    return tuple(held) if main == "map" else (_required(records, main or MAIN_METRICS[0]),)


def main_metric(records: Sequence[LoadedRecord]) -> str:
    """The first metric of the protocol that all records have. Raises UsageError without one."""
    stated = next((m for e in records if (m := e.record.protocol.metrics) is not None), None)
    for name in stated or MAIN_METRICS:
        if _in_all(records, name):
            return name
    raise UsageError(
        "the records have no main metric in common",
        expected=" or ".join(stated or MAIN_METRICS),
        hint="choose one with --metric",
    )


def shows_costs(records: Sequence[LoadedRecord], asked: bool | None) -> bool:
    """What was asked for, else whether all methods used several views of a video.

    Papers print the cost beside the views, which multiply it.
    """
    views = [entry.record.video.views for entry in records]
    return all(v.clips * v.crops > 1 for v in views) if asked is None else asked


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
            where=", ".join(str(loaded.path) for loaded in units.values()),
            found=", ".join(sorted(units)),
            hint="name fewer folders",
        )
    return next(iter(units))


def plan_places(
    keys: Sequence[ColumnKey], metrics: Sequence[str], harmonic_mean: bool
) -> list[Place]:
    """All columns in order; by metric within one dataset and number of shots.

    harmonic_mean: whether a column of the harmonic mean follows each pair of base and novel.
    """
    bases = _base_columns(keys) if harmonic_mean else {}
    places = []
    for _, members in groupby(keys, key=lambda key: (key.dataset, key.shots)):
        group = list(members)
        for metric in metrics:
            for key in group:
                places.append(Place(key, metric))
                if key in bases:
                    places.append(Place(key, metric, bases[key]))
    return places


def _base_columns(keys: Sequence[ColumnKey]) -> dict[ColumnKey, ColumnKey]:
    """The base column of each novel one: of the same split, else the only one there is."""
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
    """The columns with headers that say no more than is needed to tell them apart."""
    several_shots = len({key.shots for key in keys}) > 1
    several_metrics = len({place.metric for place in places}) > 1
    several_units = len(set(units.values())) > 1
    columns = []
    for place in places:
        key = place.key
        words = [f"{key.shots}-shot"] if several_shots and key.shots else []
        words.append(_test_title(place, keys, tests))
        if several_metrics:
            words.append(described(place.metric).title.removesuffix(" accuracy"))
        if several_units:
            words.append(f"({units[place.metric]})")
        name = " ".join(word for word in words if word)
        unit = units[place.metric] if several_units else None
        digits = described(place.metric).digits
        title = DATASETS.get(key.dataset, key.dataset)
        columns.append(Column(title, name, digits if digits != 1 else None, unit))
    return tuple(columns)


def _test_title(
    place: Place, keys: Sequence[ColumnKey], tests: Mapping[ColumnKey, set[str]]
) -> str:
    """The part, and the split where the dataset has columns of several; whole names if alone."""
    split, part = place.key.split, place.key.part
    if len(tests[place.key]) == 1:
        split, _, part = next(iter(tests[place.key])).partition("/")
    several = sum(other[:3] == place.key[:3] for other in keys) > 1
    return f"{split if several else ''} {HARMONIC if place.base else part}".strip()


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
