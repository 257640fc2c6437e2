"""A table as one HTML page that opens from disk: no script, no network, light and dark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from vclip_cli.results.escaping import plain
from vclip_cli.results.result_table import Cell, Column, ResultTable

STYLE_FILE = Path(__file__).with_name("table.css")
PLACES = {0: "{}", 1: "<strong>{}</strong>", 2: "<u>{}</u>"}
SPOKEN = {
    0: "",
    1: '<span class="hidden"> (best)</span>',
    2: '<span class="hidden"> (second)</span>',
}


def render_html(tables: Sequence[ResultTable]) -> str:
    """One page with all tables; every name from a file is escaped."""
    titles = "; ".join(plain(table.title) for table in tables)
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(titles)}</title>",
        f"<style>\n{STYLE_FILE.read_text(encoding='utf-8')}</style>",
        "</head>",
        "<body>",
        "<main>",
    ]
    for number, table in enumerate(tables, start=1):
        parts.append(html_table(table, f"table-{number}"))
    return "\n".join([*parts, "</main>", "</body>", "</html>"]) + "\n"


def html_table(table: ResultTable, name: str) -> str:
    """One table with its footnotes, as a part of a page. name: the start of its element ids."""
    lines = [
        f'<div class="wide" role="region" aria-labelledby="{name}-title" tabindex="0">',
        "<table>",
        f'<caption id="{name}-title">{_text(table.title)}</caption>',
        "<thead>",
        *_headers(table),
        "</thead>",
        "<tbody>",
    ]
    width = len(table.row_headers) + len(table.columns)
    for line in table.lines():
        if line.begins:
            title = f'<tr><th scope="rowgroup" colspan="{width}">{_text(line.block)}</th></tr>'
            lines += ["</tbody>", "<tbody>", title]
        name_cell, *others = map(_text, line.names)
        first = f'<th scope="row">{name_cell}{_marks(table, line.marks, name)}</th>'
        texts = "".join(f"<td>{text}</td>" for text in others)
        values = "".join(_cell(table, *pair, name) for pair in line.cells)
        lines.append(f"<tr>{first}{texts}{values}</tr>")
    lines += ["</tbody>", "</table>", "</div>"]
    return "\n".join([*lines, *_notes(table, name)])


def _headers(table: ResultTable) -> Iterator[str]:
    groups = table.groups()
    span = ' rowspan="2"' if groups else ""
    names = "".join(f'<th scope="col"{span}>{_text(text)}</th>' for text in table.row_headers)
    lower = [column.name if groups else column.group for column in table.columns]
    titles = "".join(f'<th scope="col" class="number">{_text(text)}</th>' for text in lower)
    if groups:
        upper = (f'<th scope="colgroup" colspan="{n}">{_text(text)}</th>' for text, n in groups)
        yield f"<tr>{names}{''.join(upper)}</tr>"
        yield f"<tr>{titles}</tr>"
    else:
        yield f"<tr>{names}{titles}</tr>"


def _cell(table: ResultTable, column: Column, cell: Cell | None, name: str) -> str:
    if cell is None:
        return '<td class="number"><span class="hidden">no result</span>–</td>'
    number = PLACES[cell.place].format(_text(table.number(cell, column)))
    return f'<td class="number">{number}{SPOKEN[cell.place]}{_marks(table, cell.marks, name)}</td>'


def _marks(table: ResultTable, marks: Sequence[str], name: str) -> str:
    known = [note.mark for note in table.footnotes]
    links = [
        f'<a href="#{name}-note-{known.index(mark)}">{_text(mark)}</a>'
        if mark in known
        else _text(mark)
        for mark in marks
    ]
    return f"<sup>{' '.join(links)}</sup>" if links else ""


def _notes(table: ResultTable, name: str) -> Iterator[str]:
    if not table.footnotes:
        return
    yield '<ul class="notes">'
    for number, note in enumerate(table.footnotes):
        mark = f"<sup>{_text(note.mark)}</sup> " if note.mark else ""
        yield f'<li id="{name}-note-{number}">{mark}{_text(note.text)}</li>'
    yield "</ul>"


def _text(text: str) -> str:
    return escape(plain(text))
