"""Top-1 accuracy."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.metric import ScoredVideos, ShareMetric


class Top1(ShareMetric):
    """The share of videos whose true class scores highest; equal scores rank in class order."""

    name = "top1"
    title = "top-1 accuracy"
    mcnemar = True
    k: ClassVar[int] = 1

    def right(self, scored: ScoredVideos) -> NDArray[np.bool_]:
        """Whether each video's (N,) true class is among its k best; all are where K <= k."""
        return (scored.ranks < self.k) & (scored.ranks < scored.scores.shape[1])
