"""Ranks of the true classes, accuracies and average precision, as shares in 0..1.

Shapes: N videos, K classes, R weightings of the videos.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError


def ranks_of_truth(scores: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank (N,) of each video's true class, 0 for the best; equal scores rank in class order.

    scores: (N,K); targets: (N,), indices of classes.
    """
    true = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    return ((scores > true) | ((scores == true) & earlier)).sum(axis=1)


def class_accuracies(
    ranks: NDArray[np.int64], targets: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Top-1 accuracy (K,) of each class from the ranks of the truth; NaN without a video."""
    right = np.bincount(targets[ranks == 0], minlength=classes)
    return divide(right, np.bincount(targets, minlength=classes))


def average_precision(
    scores: NDArray[np.floating],
    positive: NDArray[np.bool_],
    weights: NDArray[np.integer] | None = None,
) -> NDArray[np.float64]:
    """The average precision (R,) of one ranking of N items under R weightings.

    scores, positive: (N,). weights: (N,R), how often each item counts; by default once each, and R
    is 1. Items of equal score are one step of the curve, so their order does not matter. NaN under
    a weighting that leaves no positive. Equal to scikit-learn's `average_precision_score`.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = -scores[order]
    hits = np.flatnonzero(positive[order])
    # the last item of each positive's group of equal scores: where its threshold falls
    ends = np.searchsorted(ranked, ranked[hits], side="right") - 1
    if weights is None:
        weights = np.ones((len(scores), 1), dtype=np.int64)
    drawn = weights[order]
    of_hits = drawn[hits]
    hits_until_end = np.searchsorted(hits, ends, side="right") - 1
    true_positives = np.cumsum(of_hits, axis=0)[hits_until_end]
    retrieved = np.cumsum(drawn, axis=0)[ends]
    precision = true_positives / np.maximum(retrieved, 1)
    return divide((of_hits * precision).sum(axis=0), of_hits.sum(axis=0))


def label_average_precisions(
    scores: NDArray[Any], positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Average precision (K,) of each label's ranking of the videos; NaN without a positive one.

    scores, positive: (N,K). Raises DataError where no video has a label.
    """
    if not positive.any():
        raise DataError("no scored video has a label, so there is no precision to average")
    columns = range(scores.shape[1])
    return np.array([average_precision(scores[:, k], positive[:, k])[0] for k in columns])


def harmonic_mean(base: float, novel: float) -> float:
    """2ab / (a + b), as base-to-novel tables print it; 0 where both are 0."""
    return 2 * base * novel / (base + novel) if base + novel > 0 else 0.0


def divide(numbers: NDArray[Any], by: NDArray[Any]) -> NDArray[np.float64]:
    """`numbers / by`; NaN where `by` is 0."""
    return np.divide(numbers, by, out=np.full(np.shape(by), np.nan), where=by > 0)


def mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean of each row without its NaNs; NaN for a row of NaNs."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))
