"""The predictions beside a record: their hash, whom they score, and the metrics that they give."""

from __future__ import annotations

import math
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.engine.verification.checks import (
    DIFFERS,
    MATCH,
    UNCHECKED,
    Check,
    Seen,
    compare_hashes,
    some,
)
from vclip_cli.results.measure import Evaluation, Metric
from vclip_cli.results.metrics import evaluate_multi_label, evaluate_single_label
from vclip_cli.results.multi_label import evaluate_labels
from vclip_cli.results.predictions import Predictions, read_predictions
from vclip_cli.results.record import Record

EXACTLY = 1e-9
"""Metrics are computed again from the very same scores: what remains is the order of sums."""


def check_predictions(
    path: Path, record: Record, seen: Seen
) -> tuple[list[Check], Predictions | None]:
    """The checks of the file beside the record at `path`, and what it holds, if it can be read."""
    stated = record.predictions
    if stated is None:
        return [Check("predictions", UNCHECKED, "the record was written without any")], None
    file = path.parent / stated.file
    if not file.is_file():
        return [Check("predictions", DIFFERS, f"the file {file} is missing")], None
    try:
        found = seen.file_sha256(file)
    except DataError as error:
        return [Check("predictions", UNCHECKED, str(error))], None
    checks = [compare_hashes("predictions", found, stated.sha256, str(file))]
    try:
        predictions = read_predictions(file)
    except DataError as error:
        return [*checks, Check("metrics", UNCHECKED, str(error))], None
    return [*checks, _check_counts(record, predictions), _check_metrics(record, predictions)], (
        predictions
    )


def _check_counts(record: Record, predictions: Predictions) -> Check:
    counts = record.counts
    problems = []
    if len(predictions.videos) != counts.scored:
        problems.append(f"{len(predictions.videos):,} scored, the record says {counts.scored:,}")
    if list(predictions.classes) != record.dataset.classes:
        problems.append("other classes, or another order, than the record's")
    failed = {failure.video for failure in record.failures}
    if both := sorted(failed & set(predictions.videos)):
        problems.append(f"scored although listed as failed: {some(both)}")
    if problems:
        return Check("scored videos", DIFFERS, "; ".join(problems))
    text = f"{counts.scored:,} scored, {counts.failed:,} failed of {counts.listed:,} listed"
    return Check("scored videos", MATCH, text)


def _check_metrics(record: Record, predictions: Predictions) -> Check:
    if record.failures and record.config.get("on_error") == "count-as-wrong":
        text = "videos without predictions count as wrong: --rerun computes them again"
        return Check("metrics", UNCHECKED, text)
    try:
        again = measured_again(record, predictions)
    except DataError as error:
        return Check("metrics", DIFFERS, f"cannot be computed from the predictions: {error}")
    moved = []
    for name, metric in record.metrics.items():
        found = again.metrics.get(name)
        if found is not None and not _equal(metric, found):
            moved.append(f"{name} is {found.value:.4f}, the record says {metric.value:.4f}")
    for stated, entry in zip(record.per_class.values, again.per_class.values, strict=True):
        if stated.n != entry.n or not _close(stated.value, entry.value):
            moved.append(f"the class {stated.name!r} differs")
    if moved:
        return Check("metrics", DIFFERS, "; ".join(moved[:4]) + ("; …" if moved[4:] else ""))
    known = [name for name in record.metrics if name in again.metrics]
    if not known:
        return Check("metrics", UNCHECKED, "this version computes none of the record's metrics")
    return Check("metrics", MATCH, f"{', '.join(known)} computed again from the predictions")


def measured_again(record: Record, predictions: Predictions) -> Evaluation:
    """The record's metrics, from predictions. Raises DataError when these do not fit together."""
    measured = (predictions.scores, predictions.labels, predictions.classes)
    if record.decision is not None:
        return evaluate_labels(*measured, threshold=record.decision.threshold)
    if any(name.startswith("map") for name in record.metrics):  # a record of an earlier version
        return evaluate_multi_label(*measured)
    return evaluate_single_label(*measured)


def _equal(one: Metric, other: Metric) -> bool:
    values = [(one.value, other.value), (one.low, other.low), (one.high, other.high)]
    return one.n == other.n and all(_close(*pair) for pair in values)


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=EXACTLY)
