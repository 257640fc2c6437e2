"""Two methods on the same clips: the difference, its interval, and whether it is significant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError, did_you_mean
from vclip_cli.common.files import sha256_file
from vclip_cli.results.collect import (
    LoadedRecord,
    require_equal_test_sets,
    require_one_protocol,
)
from vclip_cli.results.grouping import row_key
from vclip_cli.results.layout import MAIN_METRICS
from vclip_cli.results.metrics import RANKING_RESAMPLES, RESAMPLES
from vclip_cli.results.names import dataset_order, dataset_title, metric_title
from vclip_cli.results.predictions import Predictions, read_predictions
from vclip_cli.results.result_table import Cell, Column, Footnote, Footnotes, ResultTable
from vclip_cli.results.settings import distinguishing, test_set_of
from vclip_cli.results.significance import (
    bootstrap_differences,
    difference_interval,
    mcnemar_exact,
)
from vclip_cli.results.weighted_metrics import TOP_K, rightness, weighted_metric

P_DIGITS = 4
EXACT = ("top1",)
"""Metrics whose p is McNemar's exact one; that of the others comes from the bootstrap."""


@dataclass(frozen=True)
class Pair:
    """Records of two methods on one test set, and the seeds that they were trained with."""

    one: LoadedRecord
    other: LoadedRecord

    @property
    def seeds(self) -> str:
        """`1`, or `none / 1` where the two differ."""
        seeds = [_seed(loaded) for loaded in (self.one, self.other)]
        shown = ["none" if seed is None else str(seed) for seed in seeds]
        return shown[0] if shown[0] == shown[1] else " / ".join(shown)


def compare_methods(
    records: Sequence[LoadedRecord], one: str, other: str, metric: str | None = None
) -> ResultTable:
    """A table with a line for each test set and seed that both methods have.

    one, other: methods by name, or files and folders among the records. metric: by default the main
    one. Raises UsageError for a name that fits no record or several rows of a table,
    ComparisonRefused when the records do not follow one protocol or were not scored on the same
    videos, DataError when a predictions file is missing or not what its record says.
    """
    if one == other:
        raise UsageError("a method is not compared with itself", found=f"{one!r} twice")
    sides = [_side(records, name) for name in (one, other)]
    both = [*sides[0], *sides[1]]
    require_one_protocol(both)
    require_equal_test_sets(both)
    metric = metric or _main_metric(both)
    pairs, unpaired = _pair(sides[0], sides[1], one, other)
    notes = Footnotes()
    lines = [_line(pair, metric, notes) for pair in pairs]
    protocol = pairs[0].one.record.protocol
    unit = pairs[0].one.record.metrics[metric].unit
    return ResultTable(
        title=f"{protocol.name}, version {protocol.version} ({protocol.sha256[:12]}): "
        f"{metric_title(metric)} ({unit}) of {one} and {other} on the same videos",
        unit=unit,
        row_headers=(
            "Test set",
            "Shots",
            "Seed",
            "Videos",
            "Only first right",
            "Only second right",
        ),
        rows=tuple(row for row, _ in lines),
        columns=(
            Column(one),
            Column(other),
            Column("Difference"),
            Column("p", digits=P_DIGITS, unit=""),
        ),
        cells=tuple(cells for _, cells in lines),
        footnotes=(*_general(metric, unpaired), *notes.listed()),
        intervals=True,
    )


def _side(records: Sequence[LoadedRecord], name: str) -> list[LoadedRecord]:
    """The records of a method, or those that lie at a path."""
    known = sorted({loaded.record.adapter.name for loaded in records})
    if name in known:
        found = [loaded for loaded in records if loaded.record.adapter.name == name]
    else:
        place = Path(name)
        if not place.exists():
            raise UsageError(
                f"no record is of a method {name!r}, and no file or folder is called so",
                hint=did_you_mean(name, known),
            )
        here = place.resolve()
        found = [x for x in records if here in (x.path.resolve(), *x.path.resolve().parents)]
        if not found:
            raise UsageError(
                "none of the records lies there", where=name, hint=f"vclip table … {name}"
            )
    _require_one_row(found, name)
    return found


def _require_one_row(found: Sequence[LoadedRecord], name: str) -> None:
    keys = [row_key(loaded.record)._replace(frames=(), views=()) for loaded in found]
    tests = [(x.record.dataset.name, test_set_of(x.record), x.record.protocol.shots) for x in found]
    apart = distinguishing([loaded.record for loaded in found], tests)
    rows = {(key, settings) for key, settings in zip(keys, apart, strict=True)}
    if len(rows) > 1:
        texts = sorted(
            " ".join([key.method, key.backbone, *(f"{n}={v}" for n, v in settings)])
            for key, settings in rows
        )
        raise ComparisonRefused(
            f"{name!r} stands for several rows of a table",
            found="; ".join(texts[:4]) + ("; …" if len(texts) > 4 else ""),
            expected="one",
            hint="name the folders of the two runs: --compare FOLDER FOLDER",
        )


def _main_metric(records: Sequence[LoadedRecord]) -> str:
    for name in MAIN_METRICS:
        if all(name in loaded.record.metrics for loaded in records):
            return name
    raise UsageError(
        "the two have no main metric in common",
        expected=" or ".join(MAIN_METRICS),
        hint="choose one with --metric",
    )


def _pair(
    ones: Sequence[LoadedRecord], others: Sequence[LoadedRecord], one: str, other: str
) -> tuple[list[Pair], list[str]]:
    """The records of the same test set and seed; one without a seed is paired with every seed."""
    pairs: list[Pair] = []
    alone: list[tuple[str, list[LoadedRecord]]] = []
    tests = sorted({_test(x) for x in (*ones, *others)}, key=lambda t: (dataset_order(t[0]), t[1:]))
    for test in tests:
        left, right = ([x for x in side if _fits(x, test)] for side in (ones, others))
        found = [
            Pair(x, y)
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
    used = {loaded.path for pair in pairs for loaded in (pair.one, pair.other)}
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
    """Whether a record is of a test set; an untrained method's is of every number of shots."""
    own = _test(loaded)
    untrained = loaded.record.adapter.checkpoint_sha256 is None
    return own == test or (own[:2] == test[:2] and untrained)


def _seed(loaded: LoadedRecord) -> int | None:
    return loaded.record.seeds.get("train")


def _order(loaded: LoadedRecord) -> tuple[int, str]:
    seed = _seed(loaded)
    return (-1 if seed is None else seed, str(loaded.path))


def _line(
    pair: Pair, metric: str, notes: Footnotes
) -> tuple[tuple[str, ...], tuple[Cell | None, ...]]:
    one, other = (checked_predictions(loaded) for loaded in (pair.one, pair.other))
    _require_same_videos(pair, one, other)
    other = _in_order_of(other, one.videos)
    first, second = (weighted_metric(predictions, metric) for predictions in (one, other))
    once = np.ones((len(one.videos), 1), dtype=np.int64)
    values = [float(function(once)[0]) for function in (first, second)]
    replicates = bootstrap_differences(
        first,
        second,
        len(one.videos),
        RESAMPLES if metric in (*TOP_K, "mean_class_accuracy") else RANKING_RESAMPLES,
        numbers_a_video=len(one.classes) if metric == "map_micro" else 1,
    )
    difference = values[1] - values[0]
    low, high, p = difference_interval(difference, replicates)
    only = ("–", "–")
    if metric in TOP_K:
        right = [rightness(predictions, TOP_K[metric]) for predictions in (one, other)]
        counts = [int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())]
        only = (f"{counts[0]:,}", f"{counts[1]:,}")
        if metric in EXACT:
            p = mcnemar_exact(*counts)
    record = pair.one.record
    shots = pair.other.record.protocol.shots or record.protocol.shots
    row = (
        f"{dataset_title(record.dataset.name)} {test_set_of(record)}",
        str(shots) if shots else "–",
        pair.seeds,
        f"{len(one.videos):,}",
        *only,
    )
    marks = _marks(pair, notes)
    cells = (
        Cell(100 * values[0], marks=marks[0]),
        Cell(100 * values[1], marks=marks[1]),
        Cell(100 * difference, low=100 * low, high=100 * high),
        Cell(p),
    )
    return row, cells


def _marks(pair: Pair, notes: Footnotes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    sides = []
    for loaded in (pair.one, pair.other):
        record = loaded.record
        marks = [notes.remark(text) for text in record.marks]
        if record.overlap_allowed:
            marks.append(notes.remark("videos of the training list were scored"))
        if record.partial:
            marks.append(notes.partial("partial: scored with --limit"))
        if record.counts.scored != record.counts.listed:
            counts = record.counts
            text = f"{counts.scored:,} of {counts.listed:,} listed videos scored"
            marks.append(notes.remark(text))
        sides.append(tuple(dict.fromkeys(marks)))
    return sides[0], sides[1]


def checked_predictions(loaded: LoadedRecord) -> Predictions:
    """The predictions beside a record. Raises DataError when they are missing or changed."""
    file = loaded.record.predictions
    if file is None:
        raise DataError(
            "the record has no predictions, which a comparison video by video needs",
            where=str(loaded.path),
            hint="evaluate again",
        )
    path = loaded.path.parent / file.file
    if not path.is_file():
        raise DataError(
            "the predictions of the record are missing",
            where=str(path),
            hint="copy them beside the record, or evaluate again",
        )
    found = sha256_file(path)
    if found != file.sha256:
        raise DataError(
            "the predictions are not those that the record was made from",
            where=str(path),
            found=f"sha256 {found[:12]}…",
            expected=f"{file.sha256[:12]}…, as {loaded.path.name} says",
            hint="evaluate again with the same --out: changed predictions are made anew",
        )
    return read_predictions(path)


def _require_same_videos(pair: Pair, one: Predictions, other: Predictions) -> None:
    sets = [set(one.videos), set(other.videos)]
    if sets[0] != sets[1]:
        extra = sorted(sets[0] ^ sets[1])
        raise ComparisonRefused(
            "the two were not scored on the same videos",
            where=f"{pair.one.path}, {pair.other.path}",
            found=f"{len(sets[0] - sets[1]):,} scored by the first only and"
            f" {len(sets[1] - sets[0]):,} by the second only, such as {extra[0]!r}",
            hint="their records name each failed video and its reason: mend these, evaluate both"
            " again, and compare then",
        )
    labels = dict(zip(other.videos, other.labels, strict=True))
    for video, names in zip(one.videos, one.labels, strict=True):
        if set(labels[video]) != set(names):
            raise ComparisonRefused(
                "the two were scored against other labels",
                where=f"{pair.one.path}, {pair.other.path}",
                found=f"{video!r}: {', '.join(names)} and {', '.join(labels[video])}",
                hint="evaluate both on the same split file",
            )


def _in_order_of(predictions: Predictions, videos: Sequence[str]) -> Predictions:
    position = {video: row for row, video in enumerate(predictions.videos)}
    order = [position[video] for video in videos]
    return Predictions(
        tuple(videos),
        tuple(predictions.labels[row] for row in order),
        predictions.scores[order],
        predictions.classes,
    )


def _general(metric: str, unpaired: Sequence[str]) -> tuple[Footnote, ...]:
    p = "McNemar's exact test" if metric in EXACT else "the same bootstrap, by a normal law"
    difference = (
        "the difference is the second minus the first; in brackets its 95 % interval from a"
        " bootstrap over videos, the same resamples for both"
    )
    texts = [difference, f"p: {p}; two-sided, not corrected for the number of lines"]
    if unpaired:
        texts.append("left out: " + "; ".join(unpaired))
    return tuple(Footnote("", text) for text in texts)
