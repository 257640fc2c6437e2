"""Expected calibration error."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.decisions import BINS, DecisionMetric
from vclip_cli.results.metric import ScoredVideos, Weighted


class CalibrationError(DecisionMetric):
    """How far probabilities are from the truth, over all (video, label) pairs.

    The pairs are put into 15 bins of equal width in 0..1 by their probability. The error is the
    mean over pairs of |mean probability - share of true pairs| of the pair's bin.
    """

    name = "calibration_error"
    title = "calibration error"
    direction = "lower"

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The error of the weighted videos."""
        values = scored.probabilities
        bins = np.minimum((values * BINS).astype(int), BINS - 1)
        expected = _sums(values, bins)
        true = _sums(scored.positive.astype(float), bins)

        def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
            difference = np.abs(weights.T @ expected - weights.T @ true).sum(axis=1)
            return np.asarray(difference / (weights.sum(axis=0) * values.shape[1]))

        return measure


def _sums(parts: NDArray[np.float64], bins: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum (N,BINS) of each video's parts (N,K) by bin."""
    inside = [np.where(bins == number, parts, 0.0).sum(axis=1) for number in range(BINS)]
    return np.stack(inside, axis=1)
