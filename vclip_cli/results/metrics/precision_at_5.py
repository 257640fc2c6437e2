"""Precision at 5."""

from vclip_cli.results.metrics.precision_at_1 import PrecisionAt1


class PrecisionAt5(PrecisionAt1):
    """The mean over videos of the share of true labels among the five that score highest."""

    name = "precision_at_5"
    title = "precision at 5"
    k = 5
