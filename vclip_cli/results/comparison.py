"""Two methods on the same videos: the difference, its interval, and its significance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import ComparisonRefused, UsageError, did_you_mean
from vclip_cli.results.collect import (
    LoadedRecord,
    recorded_predictions,
    require_equal_test_sets,
    require_one_protocol,
)
from vclip_cli.results.grouping import (
    DATASETS,
    dataset_order,
    distinguishing,
    row_key,
    test_set_of,
)
from vclip_cli.results.intervals import bootstrap_differences, difference_interval, mcnemar_exact
from vclip_cli.results.layout import main_metric, record_marks, scored_mark
from vclip_cli.results.measure import find_metrics
from vclip_cli.results.metric import Metric, ScoredVideos, ShareMetric, scored_videos
from vclip_cli.results.result_table import Cell, Column, Footnote, Footnotes, ResultTable

Pair = tuple[LoadedRecord, LoadedRecord]
"""Records of two methods on one test set, with the same seed."""
DIFFERENCE_NOTE = (
    "the difference is the second minus the first; in brackets its 95 % interval from a"
    " bootstrap over videos, the same resamples for both"
)
HEADERS = ("Test set", "Shots", "Seed", "Videos", "Only first right", "Only second right")


def compare_methods(
    records: Sequence[LoadedRecord], one: str, other: str, metric: str | None = None
) -> ResultTable:
    """A table with a line for each test set and seed that both methods have.

    one, other: methods by name, or files and folders among the records. metric: by default the
    protocol's main one. Raises UsageError for a name that fits no record or several rows of a
    table, ComparisonRefused when the records do not follow one protocol or were not scored on the
    same videos, DataError when a predictions file is missing or does not belong to its record.
    """
    if one == other:
        raise UsageError("a method is not compared with itself", found=f"{one!r} twice")
    ones, others = _side(records, one), _side(records, other)
    both = [*ones, *others]
    require_one_protocol(both)
    require_equal_test_sets(both)
    (measured,) = find_metrics([metric or main_metric(both)], both[0].record.kind)
    pairs, unpaired = _pair(ones, others, one, other)
    notes = Footnotes()
    lines = [_line(pair, measured, notes) for pair in pairs]
    return ResultTable(
        title=f"{both[0].record.protocol.title}: "
        f"{measured.title} ({measured.unit}) of {one} and {other} on the same videos",
        unit=measured.unit,
        row_headers=HEADERS,
        rows=tuple(row for row, _ in lines),
        columns=(*map(Column, (one, other, "Difference")), Column("p", digits=4, unit="")),
        cells=tuple(cells for _, cells in lines),
        footnotes=(*_general(measured, unpaired), *notes.listed()),
        intervals=True,
    )


def _side(records: Sequence[LoadedRecord], name: str) -> list[LoadedRecord]:
    """The records of a method, or those at a path."""
    known = sorted({loaded.record.adapter.name for loaded in records})
    found = [loaded for loaded in records if loaded.record.adapter.name == name]
    if not found and not Path(name).exists():
        raise UsageError(
            f"no record is of a method {name!r}, and there is no such file or folder",
            hint=did_you_mean(name, known),
        )
    if not found:
        here = Path(name).resolve()
        found = [x for x in records if here in (x.path.resolve(), *x.path.resolve().parents)]
    if not found:
        raise UsageError("none of the records is there", where=name, hint=f"vclip table … {name}")
    keys = [row_key(loaded.record) for loaded in found]
    apart = distinguishing([loaded.record for loaded in found], list(map(_test, found)), ["seeds"])
    rows = {(key.name, settings) for key, settings in zip(keys, apart, strict=True)}
    if len(rows) > 1:
        texts = sorted(
            " ".join([*row, *(f"{option}={value}" for option, value in settings)])
            for row, settings in rows
        )
        raise ComparisonRefused(
            f"{name!r} means several rows of a table",
            found="; ".join(texts[:4]) + ("; …" if len(texts) > 4 else ""),
            expected="one",
            hint="name the folders of the two runs: --compare FOLDER FOLDER",
        )
    return found


def _pair(
    ones: Sequence[LoadedRecord], others: Sequence[LoadedRecord], one: str, other: str
) -> tuple[list[Pair], list[str]]:
    """Pairs of records of one test set and seed; a record without a seed pairs with every seed."""
    pairs: list[Pair] = []
    alone: list[tuple[str, list[LoadedRecord]]] = []
    tests = sorted({_test(x) for x in (*ones, *others)}, key=lambda t: (dataset_order(t[0]), t[1:]))
    for test in tests:
        left, right = ([x for x in side if _fits(x, test)] for side in (ones, others))
        found = [
            (x, y)
            for x in sorted(left, key=_order)
            for y in sorted(right, key=_order)
            if x.path.resolve() != y.path.resolve()
            and (_seed(x) == _seed(y) or None in (_seed(x), _seed(y)))
        ]
        pairs += found
        if not found:
            having = [name for name, side in ((one, left), (other, right)) if side]
            seeds = "no seed in common" if len(having) == 2 else f"only {' '.join(having)}"
            alone.append((f"{test[0]} {test[1]}: {seeds}", [*left, *right]))
    used = {loaded.path for pair in pairs for loaded in pair}
    unpaired = [text for text, side in alone if not used & {loaded.path for loaded in side}]
    if not pairs:
        raise ComparisonRefused(
            "no test set was scored by both with one seed",
            found="; ".join(unpaired[:4]),
            hint=f"evaluate {one} and {other} on the same test sets, with the same seeds",
        )
    return pairs, unpaired


def _test(loaded: LoadedRecord) -> tuple[str, str, int]:
    record = loaded.record
    return record.dataset.name, test_set_of(record), record.protocol.shots or 0


def _fits(loaded: LoadedRecord, test: tuple[str, str, int]) -> bool:
    """Whether a record fits a test set; an untrained method fits every number of shots."""
    own = _test(loaded)
    untrained = loaded.record.adapter.checkpoint_sha256 is None
    return own == test or (own[:2] == test[:2] and untrained)


def _seed(loaded: LoadedRecord) -> int | None:
    return loaded.record.seeds.get("train")


def _order(loaded: LoadedRecord) -> tuple[int, str]:
    seed = _seed(loaded)
    return (-1 if seed is None else seed, str(loaded.path))


def _line(
    pair: Pair, metric: Metric, notes: Footnotes
) -> tuple[tuple[str, ...], tuple[Cell | None, ...]]:
    first, second = _scored(pair)
    one, other = metric.weighted(first), metric.weighted(second)
    once = np.ones((len(first), 1), dtype=np.int64)
    values = [float(function(once)[0]) for function in (one, other)]
    difference = values[1] - values[0]
    numbers = metric.numbers_per_video(first)
    replicates = bootstrap_differences(one, other, len(first), metric.resamples, numbers)
    low, high, p = difference_interval(difference, replicates)
    only = ("–", "–")
    if isinstance(metric, ShareMetric):
        right = [metric.right(scored) for scored in (first, second)]
        counts = [int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())]
        only = (f"{counts[0]:,}", f"{counts[1]:,}")
        p = mcnemar_exact(*counts) if metric.mcnemar else p
    record = pair[0].record
    shots = pair[1].record.protocol.shots or record.protocol.shots
    test = f"{DATASETS.get(record.dataset.name, record.dataset.name)} {test_set_of(record)}"
    seeds = ["none" if (seed := _seed(loaded)) is None else str(seed) for loaded in pair]
    joined = " / ".join(dict.fromkeys(seeds))
    row = (test, str(shots or "–"), joined, f"{len(first):,}", *only)
    scale = metric.scale
    cells = (
        *(
            Cell(scale * value, marks=_marks(loaded, notes))
            for value, loaded in zip(values, pair, strict=True)
        ),
        Cell(scale * difference, low=scale * low, high=scale * high),
        Cell(p),
    )
    return row, cells


def _scored(pair: Pair) -> tuple[ScoredVideos, ScoredVideos]:
    """The scored videos of both records, in the order of the first.

    Raises ComparisonRefused where the two were not scored on the same videos and labels.
    """
    one, other = (recorded_predictions(loaded) for loaded in pair)
    where = f"{pair[0].path}, {pair[1].path}"
    position = {video: row for row, video in enumerate(other.videos)}
    only_first = [video for video in one.videos if video not in position]
    only_second = sorted(set(other.videos) - set(one.videos))
    if only_first or only_second:
        raise ComparisonRefused(
            "the two were not scored on the same videos",
            where=where,
            found=f"{len(only_first):,} scored by the first only and"
            f" {len(only_second):,} by the second only, such as {min(only_first + only_second)!r}",
            hint="their records name each failed video and its reason: repair these, evaluate both"
            " again, then compare",
        )
    order = [position[video] for video in one.videos]
    labels = [other.labels[row] for row in order]
    for video, names, others in zip(one.videos, one.labels, labels, strict=True):
        if set(names) != set(others):
            raise ComparisonRefused(
                "the two were scored against different labels",
                where=where,
                found=f"{video!r}: {', '.join(names)} and {', '.join(others)}",
                hint="evaluate both on the same split file",
            )
    thresholds = [d.threshold if (d := x.record.decision) is not None else None for x in pair]
    kind = pair[0].record.kind
    return (
        scored_videos(one.scores, one.labels, one.classes, kind, threshold=thresholds[0]),
        scored_videos(other.scores[order], labels, other.classes, kind, threshold=thresholds[1]),
    )


def _marks(loaded: LoadedRecord, notes: Footnotes) -> tuple[str, ...]:
    records = [loaded.record]
    texts = ("partial: scored with --limit", "videos of the training list were scored")
    marks = record_marks(records, notes, *texts) + scored_mark(records, notes)
    return tuple(dict.fromkeys(marks))


def _general(metric: Metric, unpaired: Sequence[str]) -> tuple[Footnote, ...]:
    exact = isinstance(metric, ShareMetric) and metric.mcnemar
    p = "McNemar's exact test" if exact else "the same bootstrap, by a normal distribution"
    texts = [DIFFERENCE_NOTE, f"p: {p}; two-sided, not corrected for the number of lines"]
    if unpaired:
        texts.append("left out: " + "; ".join(unpaired))
    return tuple(Footnote("", text) for text in texts)
