"""Average precision as scikit-learn defines it, with weights, for many weightings at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def average_precision(
    scores: NDArray[np.floating],
    positive: NDArray[np.bool_],
    weights: NDArray[np.integer] | None = None,
) -> NDArray[np.float64]:
    """The average precision (R,) of one ranking of N items under R weightings.

    scores, positive: (N,). weights: (N,R), how often each item counts; all once (R is 1) by
    default. Items of equal score are one step of the curve, so that their order does not matter.
    NaN under a weighting that leaves no positive.
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
    total = of_hits.sum(axis=0)
    weighted = (of_hits * precision).sum(axis=0)
    return np.divide(weighted, total, out=np.full(len(total), np.nan), where=total > 0)
