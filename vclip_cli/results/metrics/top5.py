"""Top-5 accuracy."""

from vclip_cli.results.metrics.top1 import Top1


class Top5(Top1):
    """The share of videos whose true class is among the five best; 1 with five classes or fewer."""

    name = "top5"
    title = "top-5 accuracy"
    mcnemar = False
    k = 5
