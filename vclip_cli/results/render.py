"""A table as Markdown, LaTeX, HTML, CSV or JSON text: the same table gives the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.safe_readers import json_text
from vclip_cli.results.escaping import csv_text, latex, markdown, plain
from vclip_cli.results.result_table import Cell, Column, Line, ResultTable

JSON_SCHEMA = 1
LATEX_NEEDS = (
    "% needs \\usepackage{booktabs}, where a table is wide \\usepackage{graphicx}, and, for names"
    " beyond ASCII, a UTF-8 engine"
)
WIDE = 90
"""Characters in a line beyond which a LaTeX table is scaled down to the width of the text."""
STYLE_FILE = Path(__file__).with_name("table.css")
HTML_RESULTS = (
    "{}",
    '<strong>{}</strong><span class="hidden"> (best)</span>',
    '<u>{}</u><span class="hidden"> (second)</span>',
)
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


@dataclass(frozen=True)
class Markup:
    """How a form writes texts, the marks of footnotes, and results.

    results: for a result that is not ranked, the best and the second best. missing: no result.
    """

    text: Callable[[str], str]
    marks: Callable[[Sequence[str]], str]
    results: tuple[str, str, str]
    missing: str

    def cells(self, table: ResultTable, line: Line) -> tuple[list[str], list[str]]:
        """The names of a line, the first one with the marks of the line, and its results."""
        first, *others = map(self.text, line.names)
        results = [
            self.missing
            if cell is None
            else self.results[cell.place].format(self.text(table.number(cell, column)))
            + self.marks(cell.marks)
            for column, cell in line.cells
        ]
        return [first + self.marks(line.marks), *others], results


def _markdown_marks(marks: Sequence[str]) -> str:
    return f"<sup>{markdown(' '.join(marks))}</sup>" if marks else ""


MARKDOWN = Markup(markdown, _markdown_marks, ("{}", "**{}**", "<u>{}</u>"), "–")


def render_markdown(tables: Sequence[ResultTable]) -> str:
    """A pipe table each: the best value bold, the second underlined, footnotes below."""
    return "\n".join(_markdown_table(table) for table in tables)


def _markdown_table(table: ResultTable) -> str:
    headers = [*table.row_headers, *(column.title for column in table.columns)]
    rows = [list(map(markdown, headers))]
    rows.append(["---"] * len(table.row_headers) + ["---:"] * len(table.columns))
    for line in table.lines():
        if line.begins:
            rows.append([f"*{markdown(line.block)}*", *[""] * (len(headers) - 1)])
        names, results = MARKDOWN.cells(table, line)
        rows.append(names + results)
    lines = [f"**{markdown(table.title)}**", "", *(f"| {' | '.join(row)} |" for row in rows)]
    for note in table.footnotes:
        mark = f"{_markdown_marks([note.mark])} " if note.mark else ""
        lines += ["", mark + markdown(note.text)]
    return "\n".join(lines) + "\n"


def _latex_marks(marks: Sequence[str]) -> str:
    text = "\\ ".join(map(latex, marks))
    return rf"\textsuperscript{{{text}}}" if text else ""


LATEX = Markup(latex, _latex_marks, ("{}", r"\textbf{{{}}}", r"\underline{{{}}}"), "--")


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
    for line in table.lines():
        if line.begins:
            title = rf"\multicolumn{{{len(layout)}}}{{l}}{{\emph{{{latex(line.block)}}}}} \\"
            lines += [r"\midrule", title]
        names, results = LATEX.cells(table, line)
        lines.append(" & ".join(names + results) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}" + "}" * wide]
    for note in table.footnotes:
        mark = f"{_latex_marks([note.mark])} " if note.mark else ""
        lines.append(rf"\par{{\footnotesize {mark}{latex(note.text)}}}")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _characters(table: ResultTable) -> int:
    """About how wide the widest line of a table is."""
    widths = [
        sum(len(text) + 2 for text in line.names)
        + sum(len(table.number(cell, column)) + 2 for column, cell in line.cells if cell)
        for line in table.lines()
    ]
    return max(widths, default=0)


def _latex_headers(table: ResultTable) -> list[str]:
    groups = table.groups()
    if not groups:
        titles = [*table.row_headers, *(column.group for column in table.columns)]
        return [" & ".join(map(latex, titles)) + r" \\"]
    upper = [""] * len(table.row_headers)
    rules = []
    position = len(table.row_headers) + 1
    for group, width in groups:
        upper.append(rf"\multicolumn{{{width}}}{{c}}{{{latex(group)}}}")
        rules.append(rf"\cmidrule(lr){{{position}-{position + width - 1}}}")
        position += width
    lower = [*table.row_headers, *(column.name for column in table.columns)]
    return [" & ".join(upper) + r" \\", " ".join(rules), " & ".join(map(latex, lower)) + r" \\"]


def _html_text(text: str) -> str:
    return escape(plain(text))


def render_html(tables: Sequence[ResultTable]) -> str:
    """One page with all tables that opens from disk: no script, no network, light and dark."""
    titles = "; ".join(table.title for table in tables)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_html_text(titles)}</title>",
        f"<style>\n{STYLE_FILE.read_text(encoding='utf-8')}</style>",
        "</head>",
        "<body>",
        "<main>",
        html_tables(tables),
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def html_tables(tables: Sequence[ResultTable]) -> str:
    """The tables with their footnotes, as a part of a page."""
    return "\n".join(_html_table(table, f"table-{n}") for n, table in enumerate(tables, start=1))


def _html_table(table: ResultTable, name: str) -> str:
    """One table. name: the start of its element ids."""
    anchors = {note.mark: f"{name}-note-{n}" for n, note in enumerate(table.footnotes)}

    def marks(used: Sequence[str]) -> str:
        links = [f'<a href="#{anchors[mark]}">{_html_text(mark)}</a>' for mark in used]
        return f"<sup>{' '.join(links)}</sup>" if links else ""

    markup = Markup(_html_text, marks, HTML_RESULTS, '<span class="hidden">no result</span>–')
    lines = [
        f'<div class="wide" role="region" aria-labelledby="{name}-title" tabindex="0">',
        "<table>",
        f'<caption id="{name}-title">{_html_text(table.title)}</caption>',
        "<thead>",
        *_html_headers(table),
        "</thead>",
        "<tbody>",
    ]
    width = len(table.row_headers) + len(table.columns)
    for line in table.lines():
        if line.begins:
            title = _html_text(line.block)
            row = f'<tr><th scope="rowgroup" colspan="{width}">{title}</th></tr>'
            lines += ["</tbody>", "<tbody>", row]
        (first, *others), results = markup.cells(table, line)
        texts = "".join(f"<td>{text}</td>" for text in others)
        values = "".join(f'<td class="number">{text}</td>' for text in results)
        lines.append(f'<tr><th scope="row">{first}</th>{texts}{values}</tr>')
    lines += ["</tbody>", "</table>", "</div>"]
    notes = []
    for number, note in enumerate(table.footnotes):
        mark = f"<sup>{_html_text(note.mark)}</sup> " if note.mark else ""
        notes.append(f'<li id="{name}-note-{number}">{mark}{_html_text(note.text)}</li>')
    return "\n".join(lines + (['<ul class="notes">', *notes, "</ul>"] if notes else []))


def _html_headers(table: ResultTable) -> list[str]:
    groups = table.groups()
    span = ' rowspan="2"' if groups else ""
    names = "".join(f'<th scope="col"{span}>{_html_text(text)}</th>' for text in table.row_headers)
    lower = [_html_text(column.name if groups else column.group) for column in table.columns]
    titles = "".join(f'<th scope="col" class="number">{text}</th>' for text in lower)
    if not groups:
        return [f"<tr>{names}{titles}</tr>"]
    upper = [f'<th scope="colgroup" colspan="{n}">{_html_text(text)}</th>' for text, n in groups]
    return [f"<tr>{names}{''.join(upper)}</tr>", f"<tr>{titles}</tr>"]


def render_csv(tables: Sequence[ResultTable]) -> str:
    """One line per result, for spreadsheets; numbers are not rounded.

    Tables follow each other under one header; `table` holds their titles.
    """
    names, rows = result_rows(tables)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([csv_text(name) for name in names])
    for row in rows:
        writer.writerow([csv_text(v) if isinstance(v, str) else v for v in row])
    return buffer.getvalue()


def result_rows(tables: Sequence[ResultTable]) -> tuple[list[str], list[list[Any]]]:
    """Column names and one row per result: texts unchanged, numbers not rounded."""
    headers = list(dict.fromkeys(name for table in tables for name in table.row_headers))
    rows = []
    for table in tables:
        for line in table.lines():
            named = dict(zip(table.row_headers, line.names, strict=True))
            names = [table.title, *(named.get(header, "") for header in headers)]
            rows += [
                [*names, column.group, column.name, *_values(table, line, column, cell)]
                for column, cell in line.cells
                if cell is not None
            ]
    return ["table", *headers, "dataset", "column", *CSV_COLUMNS], rows


def _values(table: ResultTable, line: Line, column: Column, cell: Cell) -> list[Any]:
    """The values of `CSV_COLUMNS`."""
    marks = (*line.marks, *cell.marks)
    remarks = "; ".join(note.text for note in table.footnotes if note.mark in marks)
    unit = table.unit if column.unit is None else column.unit
    numbers = [cell.std, cell.n or None, cell.low, cell.high, cell.scored, cell.listed]
    return [cell.value, unit, *numbers, cell.place or None, line.block, remarks]


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
