"""Names from files, made safe for the place that they are printed in."""

from __future__ import annotations

import re

_FORMULA_STARTS = tuple("=+-@＝＋－＠")
_MARKDOWN = {character: f"\\{character}" for character in "\\`*_[]|~$"} | {
    "<": "&lt;",
    ">": "&gt;",
    "&": "&amp;",
}
_HYPHENS = re.compile("-(?=-)")
"""A hyphen before another, which LaTeX would join to a dash."""
_LATEX = {
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''{}",
    "`": r"\textasciigrave{}",
    "[": "{[}",  # after the end of a row it would be read as an option
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "§": r"\textsection{}",
    "–": r"\textendash{}",
    "…": r"\ldots{}",
}


def plain(text: str) -> str:
    """One line without control codes, which could rewrite what a terminal shows.

    Line ends and tabs become blanks; other characters that do not print are spelled out.
    """
    return "".join(
        character
        if character.isprintable()
        else " "
        if character in "\n\r\t"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table."""
    return "".join(_MARKDOWN.get(character, character) for character in plain(text))


def latex(text: str) -> str:
    """Text for LaTeX; characters outside ASCII that have no command stay as they are."""
    escaped = "".join(_LATEX.get(character, character) for character in plain(text))
    return _HYPHENS.sub("-{}", escaped)


def csv_text(text: str) -> str:
    """Text for a CSV cell: a leading apostrophe where a spreadsheet would see a formula."""
    line = plain(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line
