"""Macro F1 at the threshold 0.5."""

from vclip_cli.results.decisions import MacroF1


class FixedMacroF1(MacroF1):
    """The mean F1 of the labels; a label is decided at a probability of 0.5."""

    name = "f1_macro"
    title = "macro F1"
