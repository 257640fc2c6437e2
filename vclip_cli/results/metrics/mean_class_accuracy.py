"""Mean class accuracy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.intervals import SEED
from vclip_cli.results.metric import Metric, ScoredVideos, Weighted
from vclip_cli.results.scores import divide


class MeanClassAccuracy(Metric):
    """The mean of the classes' top-1 accuracies, without classes that have no video."""

    name = "mean_class_accuracy"
    title = "mean class accuracy"
    kinds = ("single-label",)
    resamples = 1000

    def value(self, scored: ScoredVideos) -> float:
        """The mean over classes."""
        return float(np.nanmean(scored.class_accuracies))

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The mean over classes of the weighted videos."""
        from scipy.sparse import csr_array

        members = csr_array(scored.positive.T.astype(float))  # (K,N)
        right = scored.ranks < 1

        def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
            shares = divide(members @ (weights * right[:, None]), members @ weights)
            return np.asarray(np.nanmean(shares, axis=0))

        return measure

    def resampled(self, scored: ScoredVideos) -> NDArray[np.float64]:
        """Draw the number of right and wrong videos of each class, which gives the same law.

        All videos are one multinomial draw, so the cost does not depend on their number.
        """
        right = (scored.positive & (scored.ranks < 1)[:, None]).sum(axis=0)
        wrong = scored.positive.sum(axis=0) - right
        shares = np.concatenate([right, wrong]) / len(scored)
        generator = np.random.default_rng(SEED)
        drawn = generator.multinomial(len(scored), shares, size=self.resamples)
        drawn_right, drawn_wrong = np.split(drawn, 2, axis=1)
        return np.asarray(np.nanmean(divide(drawn_right, drawn_right + drawn_wrong), axis=1))
