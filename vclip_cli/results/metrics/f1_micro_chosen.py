"""Micro F1 at the chosen threshold."""

from vclip_cli.results.decisions import MicroF1


class ChosenMicroF1(MicroF1):
    """F1 of all (video, label) pairs, decided at the threshold chosen on the validation part."""

    name = "f1_micro_chosen"
    title = "micro F1 at the chosen threshold"
    extends = "f1_micro"
    chosen = True
