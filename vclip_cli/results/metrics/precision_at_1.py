"""Precision at 1."""

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.decisions import DecisionMetric
from vclip_cli.results.metric import ScoredVideos, Weighted


class PrecisionAt1(DecisionMetric):
    """The mean over videos of the share of true labels among the k that score highest.

    A video without a label counts as 0. Equal scores rank in the order of the labels. With fewer
    than k labels all are taken.
    """

    name = "precision_at_1"
    title = "precision at 1"
    k = 1

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The mean over the weighted videos."""
        best = np.argsort(-scored.probabilities, axis=1, kind="stable")[:, : self.k]
        hits: NDArray[np.float64] = np.take_along_axis(scored.positive, best, axis=1).mean(axis=1)
        return lambda weights: weights.T @ hits / weights.sum(axis=0)
