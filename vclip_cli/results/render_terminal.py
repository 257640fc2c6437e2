"""A table for the terminal, through Rich."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vclip_cli.results.escaping import plain
from vclip_cli.results.result_table import Cell, Column, ResultTable

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

MAX_WIDTH = 100_000
"""Wider than any table: text for files and pipes is never folded or cut."""
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def terminal_table(table: ResultTable) -> Group:
    """Title, Rich table and footnotes: the best value bold, the second underlined.

    All names are plain text: neither control codes nor Rich's own markup take effect.
    """
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    notes = [f"{_mark(note.mark)} {plain(note.text)}".strip() for note in table.footnotes]
    shown = Table(box=box.SIMPLE_HEAD)
    for header in table.row_headers:
        shown.add_column(Text(plain(header)), overflow="fold")
    for column in table.columns:
        header = f"{plain(column.group)}\n{plain(column.name)}".strip()
        shown.add_column(Text(header), justify="right", overflow="fold")
    for line in table.lines():
        if line.begins:
            shown.add_section()
            shown.add_row(Text(plain(line.block), style="italic"))
        names = [plain(text) for text in line.names]
        names[0] += "".join(f" {_mark(mark)}" for mark in line.marks)
        shown.add_row(*map(Text, names), *(_cell(table, *pair) for pair in line.cells))
    # not as the grid's own title and caption: these would be folded to its width
    return Group(Text(plain(table.title)), shown, *map(Text, notes))


def terminal_text(tables: Sequence[ResultTable]) -> str:
    """The tables as text without colours, for files and pipes; as wide as they need to be."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=MAX_WIDTH,
        color_system=None,
        force_terminal=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        for table in tables:
            console.print(terminal_table(table), soft_wrap=True)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _cell(table: ResultTable, column: Column, cell: Cell | None) -> Text:
    from rich.text import Text

    if cell is None:
        return Text("–")
    style = {0: "", 1: "bold", 2: "underline"}[cell.place]
    return Text.assemble((table.number(cell, column), style), " ".join(map(_mark, cell.marks)))


def _mark(mark: str) -> str:
    return mark.translate(_SUPERSCRIPTS)
