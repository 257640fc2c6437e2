"""The predictions beside a record: their hash, whom they score, and the metrics that they give."""

from __future__ import annotations

import math

from vclip_cli.common.errors import DataError
from vclip_cli.common.resources import list_metrics
from vclip_cli.engine.specs import COUNT_AS_WRONG
from vclip_cli.engine.verification.checks import DIFFERS, UNCHECKED, Subject, some
from vclip_cli.results.measure import measure
from vclip_cli.results.metric import MetricValue
from vclip_cli.results.predictions import Predictions, read_predictions

EXACTLY = 1e-9
"""Metrics are computed again from the very same scores: what remains is the order of sums."""


def check_predictions(subject: Subject) -> Predictions | None:
    """Check the file beside the record; gives what it holds, if it can be read."""
    stated = subject.record.predictions
    if stated is None:
        subject.note("predictions", UNCHECKED, "the record was written without any")
        return None
    file = subject.path.parent / stated.file
    if not file.is_file():
        subject.note("predictions", DIFFERS, f"the file {file} is missing")
        return None
    what = "predictions"
    try:
        subject.note_hash(what, subject.seen.file_sha256(file), stated.sha256, str(file))
        what = "metrics"
        predictions = read_predictions(file)
    except DataError as error:
        subject.note(what, UNCHECKED, str(error))
        return None
    _check_counts(subject, predictions)
    _check_metrics(subject, predictions)
    return predictions


def _check_counts(subject: Subject, predictions: Predictions) -> None:
    record, counts = subject.record, subject.record.counts
    problems = []
    if len(predictions.videos) != counts.scored:
        problems.append(f"{len(predictions.videos):,} scored, the record says {counts.scored:,}")
    if list(predictions.classes) != record.dataset.classes:
        problems.append("other classes, or another order, than the record's")
    failed = {failure.video for failure in record.failures}
    if both := sorted(failed & set(predictions.videos)):
        problems.append(f"scored although listed as failed: {some(both)}")
    text = f"{counts.scored:,} scored, {counts.failed:,} failed of {counts.listed:,} listed"
    subject.note_problems("scored videos", problems, text)


def _check_metrics(subject: Subject, predictions: Predictions) -> None:
    record, known = subject.record, list_metrics()
    if record.failures and record.config.get("on_error") == COUNT_AS_WRONG:
        text = "videos without predictions count as wrong: --rerun computes them again"
        return subject.note("metrics", UNCHECKED, text)
    try:
        again = measure(
            predictions.scores,
            predictions.labels,
            predictions.classes,
            names=[name for name in record.metrics if name in known],
            kind=record.kind,
            threshold=None if record.decision is None else record.decision.threshold,
        )
    except DataError as error:
        text = f"cannot be computed from the predictions: {error}"
        return subject.note("metrics", DIFFERS, text)
    both = [name for name in record.metrics if name in again.metrics]
    moved = []
    for name in both:
        stated, found = record.metrics[name], again.metrics[name]
        if not _equal(stated, found):
            moved.append(f"{name} is {found.value:.4f}, the record says {stated.value:.4f}")
    for old, new in zip(record.per_class.values, again.per_class.values, strict=True):
        if old.n != new.n or not _close(old.value, new.value):
            moved.append(f"the class {old.name!r} differs")
    if not both and not moved:
        text = "this version computes none of the record's metrics"
        return subject.note("metrics", UNCHECKED, text)
    problems = [*moved[:4], *(["…"] if moved[4:] else [])]
    text = f"{', '.join(both)} computed again from the predictions"
    return subject.note_problems("metrics", problems, text)


def _equal(one: MetricValue, other: MetricValue) -> bool:
    values = [(one.value, other.value), (one.low, other.low), (one.high, other.high)]
    return one.n == other.n and all(_close(*pair) for pair in values)


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=EXACTLY)
