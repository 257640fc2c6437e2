"""Top-1 accuracy."""

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.metric import ScoredVideos, ShareMetric


class Top1(ShareMetric):
    """The share of videos whose true class scores highest; equal scores rank in class order."""

    name = "top1"
    title = "top-1 accuracy"
    mcnemar = True

    def right(self, scored: ScoredVideos) -> NDArray[np.bool_]:
        """Whether each video's (N,) true class ranks first."""
        return scored.among_best(1)
