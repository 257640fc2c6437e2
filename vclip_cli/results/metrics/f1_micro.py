"""Micro F1 at the threshold 0.5."""

from vclip_cli.results.decisions import MicroF1


class FixedMicroF1(MicroF1):
    """F1 of all (video, label) pairs; a label is decided at a probability of 0.5."""

    name = "f1_micro"
    title = "micro F1"
