"""A table as Markdown, CSV, LaTeX or JSON text: the same table gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.safe_readers import json_text
from vclip_cli.results.escaping import csv_text, latex, markdown
from vclip_cli.results.render_html import render_html
from vclip_cli.results.result_table import Cell, Column, ResultTable

JSON_SCHEMA = 1
LATEX_NEEDS = (
    "% needs \\usepackage{booktabs}, where a table is wide \\usepackage{graphicx}, and, for names"
    " beyond ASCII, a UTF-8 engine"
)
WIDE = 90
"""Characters in a line beyond which a LaTeX table is scaled down to the width of the text."""
CSV_COLUMNS = (
    *("value", "unit", "std", "n", "low", "high"),
    *("scored", "listed", "place", "block", "notes"),
)


def render(tables: Sequence[ResultTable], form: str) -> str:
    """The tables as text in the form `md`, `csv`, `latex`, `html` or `json`, with a final newline.

    Raises UsageError for any other form.
    """
    if form not in FORMS:
        raise UsageError(f"unknown format {form!r}", hint=did_you_mean(form, FORMS))
    return FORMS[form](tables)


def render_markdown(tables: Sequence[ResultTable]) -> str:
    """A pipe table each: the best value bold, the second underlined, footnotes below."""
    return "\n".join(_markdown_table(table) for table in tables)


def _markdown_table(table: ResultTable) -> str:
    headers = [*table.row_headers, *(column.title for column in table.columns)]
    rule = ["---"] * len(table.row_headers) + ["---:"] * len(table.columns)
    lines = [f"**{markdown(table.title)}**", ""]
    lines += [_pipes(map(markdown, headers)), _pipes(rule)]
    blocks = table.block_starts()
    for number, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        if number in blocks:
            lines.append(_pipes([f"*{markdown(blocks[number])}*", *[""] * (len(headers) - 1)]))
        places = zip(cells, table.columns, strict=True)
        shown = ["–" if c is None else _markdown_cell(table, c, column) for c, column in places]
        names = [*map(markdown, row)]
        names[0] += _markdown_marks(table.marks_of(number))
        lines.append(_pipes([*names, *shown]))
    for note in table.footnotes:
        mark = f"<sup>{markdown(note.mark)}</sup> " if note.mark else ""
        lines += ["", mark + markdown(note.text)]
    return "\n".join(lines) + "\n"


def _pipes(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(table: ResultTable, cell: Cell, column: Column) -> str:
    number = markdown(table.number(cell, column))
    text = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}[cell.place].format(number)
    return text + _markdown_marks(cell.marks)


def _markdown_marks(marks: Sequence[str]) -> str:
    return f"<sup>{markdown(' '.join(marks))}</sup>" if marks else ""


def render_latex(tables: Sequence[ResultTable]) -> str:
    """A booktabs table each, with caption and footnotes; every special character is escaped.

    A wide table is made narrower as a whole, to the width of the text.
    """
    parts = [LATEX_NEEDS]
    parts += [_latex_table(table) for table in tables]
    return "\n".join(parts)


def _latex_table(table: ResultTable) -> str:
    layout = "l" * len(table.row_headers) + "r" * len(table.columns)
    wide = _characters(table) > WIDE
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title)}}}",
        *([r"\resizebox{\textwidth}{!}{%"] if wide else []),
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        *_latex_headers(table),
        r"\midrule",
    ]
    blocks, width = table.block_starts(), len(layout)
    for number, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
        if number in blocks:
            title = latex(blocks[number])
            lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{title}}}}} \\"]
        places = zip(cells, table.columns, strict=True)
        shown = ["--" if c is None else _latex_cell(table, c, column) for c, column in places]
        names = [*map(latex, row)]
        names[0] += _latex_marks(table.marks_of(number))
        lines.append(" & ".join([*names, *shown]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}" + "}" * wide]
    for note in table.footnotes:
        mark = f"{_latex_marks((note.mark,))} " if note.mark else ""
        lines.append(rf"\par{{\footnotesize {mark}{latex(note.text)}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _characters(table: ResultTable) -> int:
    """About how wide the widest line of a table is."""
    widths = [
        sum(len(text) + 2 for text in row)
        + sum(len(table.number(c, n)) + 2 for c, n in zip(cells, table.columns, strict=True) if c)
        for row, cells in zip(table.rows, table.cells, strict=True)
    ]
    return max(widths, default=0)


def _latex_headers(table: ResultTable) -> list[str]:
    if not any(column.name for column in table.columns):
        titles = [*table.row_headers, *(column.group for column in table.columns)]
        return [" & ".join(map(latex, titles)) + r" \\"]
    upper = [""] * len(table.row_headers)
    rules = []
    position = len(table.row_headers) + 1
    for group, columns in groupby(table.columns, key=lambda column: column.group):
        width = len(list(columns))
        upper.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
        rules.append(rf"\cmidrule(lr){{{position}-{position + width - 1}}}")
        position += width
    lower = [*table.row_headers, *(column.name for column in table.columns)]
    return [" & ".join(upper) + r" \\", " ".join(rules), " & ".join(map(latex, lower)) + r" \\"]


def _latex_cell(table: ResultTable, cell: Cell, column: Column) -> str:
    text = latex(table.number(cell, column))
    wrapped = {0: text, 1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}[cell.place]
    return wrapped + _latex_marks(cell.marks)


def _latex_marks(marks: Sequence[str]) -> str:
    text = "\\ ".join(latex(mark) for mark in marks if mark)
    return rf"\textsuperscript{{{text}}}" if text else ""


def render_csv(tables: Sequence[ResultTable]) -> str:
    """One line a result, for spreadsheets and data frames; numbers are not rounded.

    Tables follow each other under one header; `table` holds their titles.
    """
    headers = list(dict.fromkeys(name for table in tables for name in table.row_headers))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["table", *map(csv_text, headers), "dataset", "column", *CSV_COLUMNS])
    for table in tables:
        for number, (row, cells) in enumerate(zip(table.rows, table.cells, strict=True)):
            named = dict(zip(table.row_headers, row, strict=True))
            names = [csv_text(text) for text in (table.title, *(named.get(h, "") for h in headers))]
            for column, cell in zip(table.columns, cells, strict=True):
                if cell is not None:
                    writer.writerow([*names, *_csv_cell(table, number, column, cell)])
    return buffer.getvalue()


def _csv_cell(table: ResultTable, row: int, column: Column, cell: Cell) -> list[Any]:
    marks = (*table.marks_of(row), *cell.marks)
    remarks = "; ".join(note.text for note in table.footnotes if note.mark in marks)
    block = next((t for start, t in reversed(table.block_starts().items()) if start <= row), "")
    numbers = [cell.std, cell.n or None, cell.low, cell.high, cell.scored, cell.listed]
    unit = table.unit if column.unit is None else column.unit
    texts = [csv_text(text) for text in (column.group, column.name, unit, block, remarks)]
    return [
        *texts[:2],
        cell.value,
        texts[2],
        *numbers,
        cell.place or None,
        *texts[3:],
    ]


def render_json(tables: Sequence[ResultTable]) -> str:
    """The tables as they are, with the fingerprints of the records behind each cell."""
    document = {"schema_version": JSON_SCHEMA, "tables": [asdict(table) for table in tables]}
    return json_text(document)


FORMS: dict[str, Callable[[Sequence[ResultTable]], str]] = {
    "md": render_markdown,
    "csv": render_csv,
    "latex": render_latex,
    "html": render_html,
    "json": render_json,
}
