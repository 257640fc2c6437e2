"""Top-5 accuracy."""

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.metric import ScoredVideos, ShareMetric


class Top5(ShareMetric):
    """The share of videos whose true class is among the five best; 1 with five classes or fewer."""

    name = "top5"
    title = "top-5 accuracy"

    def right(self, scored: ScoredVideos) -> NDArray[np.bool_]:
        """Whether each video's (N,) true class is among the five best."""
        return scored.among_best(5)
