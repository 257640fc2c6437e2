"""Mean class accuracy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.intervals import resampled_counts
from vclip_cli.results.metric import Metric, ScoredVideos, Weighted
from vclip_cli.results.scores import class_accuracies, divide


class MeanClassAccuracy(Metric):
    """The mean of the classes' top-1 accuracies, without classes that have no video."""

    name = "mean_class_accuracy"
    title = "mean class accuracy"
    kinds = ("single-label",)
    resamples = 1000

    def value(self, scored: ScoredVideos) -> float:
        """The mean over classes."""
        classes = scored.scores.shape[1]
        return float(np.nanmean(class_accuracies(scored.ranks, scored.targets, classes)))

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The mean over classes of the weighted videos."""
        from scipy.sparse import csr_array

        members = csr_array(scored.positive.T.astype(float))  # (K,N)
        right = scored.ranks < 1

        def measure(weights: NDArray[Any]) -> NDArray[np.float64]:
            shares = divide(members @ (weights * right[:, None]), members @ weights)
            return np.asarray(np.nanmean(shares, axis=0))

        return measure

    def resampled(self, scored: ScoredVideos, resamples: int, seed: int) -> NDArray[np.float64]:
        """Draw the number of right and wrong videos of each class, which gives the same law."""
        right = (scored.positive & (scored.ranks < 1)[:, None]).sum(axis=0)
        wrong = scored.positive.sum(axis=0) - right
        drawn = resampled_counts(np.concatenate([right, wrong]), resamples, seed)
        drawn_right, drawn_wrong = np.split(drawn, 2, axis=1)
        return np.asarray(np.nanmean(divide(drawn_right, drawn_right + drawn_wrong), axis=1))
