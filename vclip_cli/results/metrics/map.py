"""Mean average precision (mAP)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.metric import Metric, ScoredVideos, Weighted
from vclip_cli.results.scores import average_precision, mean_of_known

MAX_RANKED = 1_000_000_000
"""Above this many (resample, video, class) triples, a minute of work, there is no interval."""


class MeanAveragePrecision(Metric):
    """The mean of the labels' average precisions, without labels that no video has."""

    name = "map"
    title = "mAP"
    kinds = ("multi-label",)

    def value(self, scored: ScoredVideos) -> float:
        """The mean over labels."""
        return float(np.nanmean(scored.precisions))

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The mean over labels of the weighted videos."""
        scores, positive = scored.scores, scored.positive
        present = np.flatnonzero(positive.any(axis=0))

        def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
            each = [average_precision(scores[:, k], positive[:, k], weights) for k in present]
            return mean_of_known(np.stack(each, axis=1))

        return measure

    def resampled(self, scored: ScoredVideos) -> NDArray[np.float64] | None:
        """The bootstrap, which ranks all videos anew for each draw."""
        too_many = self.resamples * scored.scores.size > MAX_RANKED
        return None if too_many else super().resampled(scored)
