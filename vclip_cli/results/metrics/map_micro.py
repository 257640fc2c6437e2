"""Micro mean average precision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.metric import ScoredVideos, Weighted
from vclip_cli.results.metrics.map import MeanAveragePrecision
from vclip_cli.results.scores import average_precision


class MicroAveragePrecision(MeanAveragePrecision):
    """The average precision of all (video, label) pairs in one ranking."""

    name = "map_micro"
    title = "micro mAP"

    def value(self, scored: ScoredVideos) -> float:
        """The average precision of all pairs."""
        return float(average_precision(scored.scores.ravel(), scored.positive.ravel())[0])

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The average precision of the pairs of the weighted videos."""
        scores, positive = scored.scores.ravel(), scored.positive.ravel()
        classes = scored.scores.shape[1]

        def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
            return average_precision(scores, positive, np.repeat(weights, classes, axis=0))

        return measure

    def numbers_per_video(self, scored: ScoredVideos) -> int:
        """One a label."""
        return int(scored.scores.shape[1])
