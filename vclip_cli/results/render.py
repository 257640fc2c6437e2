"""A table as Markdown, CSV, LaTeX or JSON text: the same table gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from vclip_cli.errors import UsageError, did_you_mean
from vclip_cli.json_files import json_text
from vclip_cli.results.escaping import csv_text, latex, markdown
from vclip_cli.results.result_table import Cell, Column, ResultTable

JSON_SCHEMA = 1
CSV_COLUMNS = (
    *("value", "unit", "std", "n", "low", "high"),
    *("scored", "listed", "place", "notes"),
)


def render(tables: Sequence[ResultTable], form: str) -> str:
    """The tables as text in the form `md`, `csv`, `latex` or `json`, with a final newline.

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
    for row, cells in zip(table.rows, table.cells, strict=True):
        shown = ["–" if cell is None else _markdown_cell(table, cell) for cell in cells]
        lines.append(_pipes([*map(markdown, row), *shown]))
    for note in table.footnotes:
        mark = f"<sup>{markdown(note.mark)}</sup> " if note.mark else ""
        lines += ["", mark + markdown(note.text)]
    return "\n".join(lines) + "\n"


def _pipes(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(table: ResultTable, cell: Cell) -> str:
    text = {0: "{}", 1: "**{}**", 2: "<u>{}</u>"}[cell.place].format(table.number(cell))
    return text + (f"<sup>{markdown(' '.join(cell.marks))}</sup>" if cell.marks else "")


def render_latex(tables: Sequence[ResultTable]) -> str:
    """A booktabs table each, with caption and footnotes; every special character is escaped."""
    parts = ["% needs \\usepackage{booktabs} and, for names beyond ASCII, a UTF-8 engine"]
    parts += [_latex_table(table) for table in tables]
    return "\n".join(parts)


def _latex_table(table: ResultTable) -> str:
    layout = "l" * len(table.row_headers) + "r" * len(table.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{latex(table.title)}}}",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
        *_latex_headers(table),
        r"\midrule",
    ]
    for row, cells in zip(table.rows, table.cells, strict=True):
        shown = ["--" if cell is None else _latex_cell(table, cell) for cell in cells]
        lines.append(" & ".join([*map(latex, row), *shown]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    for note in table.footnotes:
        mark = f"{_latex_marks((note.mark,))} " if note.mark else ""
        lines.append(rf"\par{{\footnotesize {mark}{latex(note.text)}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


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


def _latex_cell(table: ResultTable, cell: Cell) -> str:
    text = latex(table.number(cell))
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
        for row, cells in zip(table.rows, table.cells, strict=True):
            named = dict(zip(table.row_headers, row, strict=True))
            names = [csv_text(text) for text in (table.title, *(named.get(h, "") for h in headers))]
            for column, cell in zip(table.columns, cells, strict=True):
                if cell is not None:
                    writer.writerow([*names, *_csv_cell(table, column, cell)])
    return buffer.getvalue()


def _csv_cell(table: ResultTable, column: Column, cell: Cell) -> list[Any]:
    remarks = [note.text for note in table.footnotes if note.mark in cell.marks]
    numbers = [cell.std, cell.n, cell.low, cell.high, cell.scored, cell.listed, cell.place or None]
    texts = [csv_text(text) for text in (column.group, column.name, table.unit, "; ".join(remarks))]
    return [texts[0], texts[1], cell.value, texts[2], *numbers, texts[3]]


def render_json(tables: Sequence[ResultTable]) -> str:
    """The tables as they are, with the fingerprints of the records behind each cell."""
    document = {"schema_version": JSON_SCHEMA, "tables": [asdict(table) for table in tables]}
    return json_text(document)


FORMS: dict[str, Callable[[Sequence[ResultTable]], str]] = {
    "md": render_markdown,
    "csv": render_csv,
    "latex": render_latex,
    "json": render_json,
}
