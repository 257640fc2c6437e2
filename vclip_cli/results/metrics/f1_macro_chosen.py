"""Macro F1 at the chosen threshold."""

from vclip_cli.results.decisions import MacroF1


class ChosenMacroF1(MacroF1):
    """The mean F1 of the labels, decided at the threshold chosen on the validation part."""

    name = "f1_macro_chosen"
    title = "macro F1 at the chosen threshold"
    extends = "f1_macro"
    chosen = True
