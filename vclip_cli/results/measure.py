"""Finding metrics by name, and measuring a set of predictions with them."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from vclip_cli.common.errors import SpecError, UsageError, VclipError, did_you_mean
from vclip_cli.common.files import sha256_file
from vclip_cli.common.resources import (
    import_user_file,
    line_of_error,
    list_metrics,
    plugin_class,
)
from vclip_cli.results.metric import (
    Closed,
    Kind,
    Metric,
    MetricValue,
    ScoredVideos,
    scored_videos,
)

_SHIPPED = Path(__file__).parent / "metrics"


class ClassMetric(Closed):
    """The metric of one class; value is null where the class has no (positive) video, n is 0."""

    name: str
    value: float | None
    n: int = Field(ge=0)


class PerClass(Closed):
    """One metric for every class, in the order of the classes, in %."""

    metric: str
    values: list[ClassMetric]


class Evaluation(Closed):
    """What is measured on one set of predictions: the metrics of a record.

    without_positives: the classes that no scored video belongs to; averages over classes leave
    them out.
    """

    metrics: dict[str, MetricValue]
    per_class: PerClass
    without_positives: list[str]


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises UsageError with the near misses for an unknown name, SpecError for a broken file.
    """
    known = list_metrics()
    if name not in known:
        raise UsageError(f"unknown metric {name!r}", hint=did_you_mean(name, known))
    return _load(known[name], known[name].stat().st_mtime_ns)


def find_metrics(names: Sequence[str], kind: Kind) -> list[Metric]:
    """The metrics of these names, each once.

    Raises UsageError for one that is unknown or not for this kind of protocol.
    """
    found = [find_metric(name) for name in dict.fromkeys(names)]
    for metric in found:
        if kind not in metric.kinds:
            raise UsageError(
                f"the metric {metric.name!r} is not for {kind} protocols",
                found=f"it is for {' and '.join(metric.kinds)}",
                expected=", ".join(_names_for(kind)),
            )
    return found


def _names_for(kind: Kind) -> Iterator[str]:
    """The metrics for a kind of protocol. Files that are broken are left out."""
    for name in list_metrics():
        with contextlib.suppress(VclipError):
            if kind in find_metric(name).kinds:
                yield name


def own_metric_files(names: Sequence[str]) -> dict[str, str]:
    """The sha256 of the file of each of these metrics that is a user's own."""
    known = list_metrics()
    own = [name for name in names if name in known and known[name].parent != _SHIPPED]
    return {name: sha256_file(known[name]) for name in own}


def described(name: str) -> Metric:
    """The metric of a name; an unknown one has its name as its title."""
    if name in list_metrics():
        return find_metric(name)
    unknown = type("UnknownMetric", (Metric,), {"name": name, "title": name})
    return unknown()


def with_extensions(names: Sequence[str]) -> list[str]:
    """The names, each followed by the metrics that extend that name, such as `f1_macro_chosen`.

    The name of an extension begins with the name that it extends.
    """
    found: list[str] = []
    for name in names:
        longer = [other for other in list_metrics() if other.startswith(f"{name}_")]
        found += [name, *(other for other in longer if find_metric(other).extends == name)]
    return list(dict.fromkeys(found))


def measure(
    scores: NDArray[Any],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    *,
    names: Sequence[str],
    kind: Kind,
    threshold: float | None = None,
    unread: Sequence[Sequence[str]] = (),
) -> Evaluation:
    """Measure predictions by the named metrics, with a value for every class.

    scores: (N,K). labels: the true labels of each video, by name; exactly one for single-label.
    classes: the names of the K columns. threshold: chosen on the validation part; metrics that
    extend a named one, such as `f1_macro_chosen`, are measured with it and left out without it.
    unread: the labels of videos without scores, which count as wrong. Raises UsageError for a
    metric that is unknown or of the other kind, DataError for input that does not fit, SpecError
    for a fault in a user's own metric.
    """
    if threshold is not None:
        names = with_extensions(names)
    chosen = [m for m in find_metrics(names, kind) if m.extends is None or threshold is not None]
    scored = scored_videos(scores, labels, classes, kind, threshold=threshold, unread=unread)
    metrics = {metric.name: _measured(metric, scored) for metric in chosen}
    if kind == "single-label":
        of_class, values = "top1", scored.class_accuracies
    else:
        of_class, values = "average_precision", scored.precisions
    counts = scored.positive.sum(axis=0)
    per_class = [
        ClassMetric(name=name, value=100 * float(value) if count else None, n=int(count))
        for name, value, count in zip(classes, values, counts, strict=True)
    ]
    return Evaluation(
        metrics=metrics,
        per_class=PerClass(metric=of_class, values=per_class),
        without_positives=[entry.name for entry in per_class if entry.n == 0],
    )


def _measured(metric: Metric, scored: ScoredVideos) -> MetricValue:
    path = list_metrics()[metric.name]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            return metric.measured(scored)
    except VclipError:
        raise
    except (Exception, SystemExit) as error:
        if path.parent == _SHIPPED:
            raise
        raise SpecError(
            f"the metric fails: {type(error).__name__}: {error}",
            where=f"{path}:{line_of_error(error, path)}",
        ) from error


@cache
def _load(path: Path, changed: int) -> Metric:
    """The one metric that a file defines, loaded again when the file has changed.

    Raises SpecError, naming the file.
    """
    module = (
        importlib.import_module(f"vclip_cli.results.metrics.{path.stem}")
        if path.parent == _SHIPPED
        else import_user_file(path, "metric")
    )
    metric = plugin_class(module, path, Metric, path.stem)
    if problem := metric.problem():
        raise SpecError(f"the metric {path.stem!r} {problem}", where=str(path))
    try:
        return metric()
    except Exception as error:  # a user's code may raise anything
        raise SpecError(
            f"the metric cannot be made: {type(error).__name__}: {error}", where=str(path)
        ) from error
