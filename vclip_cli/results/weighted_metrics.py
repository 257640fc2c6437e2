"""Metrics of predictions under many weightings of the videos at once, for the bootstrap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.results.average_precision import average_precision
from vclip_cli.results.metrics import ranks_of_truth
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.scores import class_indices, label_matrix

Weighted = Callable[[NDArray[Any]], NDArray[np.float64]]
TOP_K = {"top1": 1, "top5": 5}
COMPARABLE = (*TOP_K, "mean_class_accuracy", "map", "map_micro")


def rightness(predictions: Predictions, k: int = 1) -> NDArray[np.bool_]:
    """Whether each video's (N,) true class is among its k best."""
    targets = class_indices(predictions.labels, predictions.classes)
    return ranks_of_truth(predictions.scores, targets) < k


def weighted_metric(predictions: Predictions, metric: str) -> Weighted:
    """A function from weights (N,R) to the metric (R,) as a fraction, NaN where it has no value.

    Raises UsageError for a metric that is not one of `COMPARABLE`.
    """
    if metric in TOP_K:
        return _share(rightness(predictions, TOP_K[metric]))
    if metric == "mean_class_accuracy":
        return _mean_over_classes(predictions)
    if metric in ("map", "map_micro"):
        positive = label_matrix(predictions.labels, predictions.classes)
        return (_macro if metric == "map" else _micro)(predictions.scores, positive)
    raise UsageError(
        f"two methods cannot be compared by {metric!r}", hint=did_you_mean(metric, COMPARABLE)
    )


def _share(right: NDArray[np.bool_]) -> Weighted:
    return lambda weights: right @ weights / weights.sum(axis=0)


def _mean_over_classes(predictions: Predictions) -> Weighted:
    from scipy.sparse import csr_array

    targets = class_indices(predictions.labels, predictions.classes)
    videos = np.arange(len(targets))
    shape = (len(predictions.classes), len(targets))
    members = csr_array((np.ones(len(targets)), (targets, videos)), shape=shape)
    right = rightness(predictions)

    def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
        counts = members @ weights
        found = members @ (weights * right[:, None])
        shares = np.divide(found, counts, out=np.full(counts.shape, np.nan), where=counts > 0)
        return np.nanmean(shares, axis=0)

    return measure


def _macro(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Weighted:
    present = np.flatnonzero(positive.any(axis=0))

    def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
        each = np.stack([average_precision(scores[:, k], positive[:, k], weights) for k in present])
        known = ~np.isnan(each)
        total = np.where(known, each, 0.0).sum(axis=0)
        count = known.sum(axis=0)
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    return measure


def _micro(scores: NDArray[Any], positive: NDArray[np.bool_]) -> Weighted:
    classes = scores.shape[1]
    return lambda weights: average_precision(
        scores.ravel(), positive.ravel(), np.repeat(weights, classes, axis=0)
    )
