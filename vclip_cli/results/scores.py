"""Scores and labels: checks, average precision and means.

Shapes: N videos, K classes, R weightings of the videos. Precisions are shares in 0..1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError, did_you_mean


def check_scores(scores: NDArray[Any]) -> NDArray[Any]:
    """The scores (N,K) as an array. Raises DataError unless they are finite floats, not empty.

    A NaN compares false with everything: accuracies computed from it would look like numbers.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise DataError("scores of the wrong shape", found=str(scores.shape), expected="(N, K)")
    if scores.shape[0] == 0:
        raise DataError("there are no scored videos", found="0 rows of scores")
    if scores.shape[1] == 0:
        raise DataError("there are no classes", found="0 columns of scores")
    if not np.issubdtype(scores.dtype, np.floating):
        raise DataError("scores of the wrong type", found=str(scores.dtype), expected="floats")
    broken = ~np.isfinite(scores)
    if broken.any():
        row, column = (int(index) for index in np.argwhere(broken)[0])
        raise DataError(
            "the scores hold values that are not finite",
            found=f"{int(broken.any(axis=1).sum())} of {len(scores)} videos, "
            f"the first {scores[row, column]} at row {row}, class {column}",
            hint="run again with --precision fp32; if they stay, the weights are damaged",
        )
    return scores


def check_classes(classes: Sequence[str]) -> None:
    """Raises DataError when a class name is repeated: scores are found by name."""
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise DataError("class names are repeated", found=", ".join(map(repr, repeated[:5])))


def label_matrix(
    labels: Sequence[Sequence[str]], classes: Sequence[str], *, single: bool = False
) -> NDArray[np.bool_]:
    """Which labels each video has, as booleans (N,K); a video may have none.

    single: whether each video must have exactly one. Raises DataError for any other number of
    labels then, and for a label that is not among the classes.
    """
    check_classes(classes)
    index = {name: position for position, name in enumerate(classes)}
    matrix = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, names in enumerate(labels):
        if single and len(names) != 1:
            raise DataError(
                "a single-label metric needs exactly one label per video",
                found=f"{len(names)} labels at row {row}",
                hint="multi-label test sets are measured by mAP",
            )
        for name in names:
            if name not in index:
                raise DataError(
                    f"the label {name!r} is not among the {len(index)} classes",
                    hint=did_you_mean(name, index),
                )
            matrix[row, index[name]] = True
    return matrix


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
    # each positive's threshold: the last item of its group of equal scores
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
