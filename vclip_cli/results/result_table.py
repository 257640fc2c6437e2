"""A table as plain values: every kind of table is built into it, every format is made from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

DIGITS = 1
"""Decimals that a table prints."""
DAGGER = "†"
DOUBLE_DAGGER = "‡"
SECTION = "§"


@dataclass(frozen=True)
class Column:
    """A column of results: `group` is the upper header (the dataset), `name` the lower one.

    digits: decimals that are printed here; unit: of the values. None: as in the whole table.
    """

    group: str
    name: str = ""
    digits: int | None = None
    unit: str | None = None

    @property
    def title(self) -> str:
        """Both headers on one line."""
        return f"{self.group} {self.name}".strip()


@dataclass(frozen=True)
class Cell:
    """A result, in the table's unit.

    std: sample standard deviation over the n joined records, None for one record. low, high: the
    95 % interval, of one record over its videos, of several records for their mean. scored,
    listed: videos, over all joined records; None for derived values. n: 0 for published figures.
    marks: marks of footnotes. place: 1 best, 2 second, 0 other or not ranked. records: fingerprints
    of the records behind the value.
    """

    value: float
    std: float | None = None
    n: int = 1
    low: float | None = None
    high: float | None = None
    scored: int | None = None
    listed: int | None = None
    marks: tuple[str, ...] = ()
    place: Literal[0, 1, 2] = 0
    records: tuple[str, ...] = ()


@dataclass(frozen=True)
class Footnote:
    """A remark below the table; `mark` is empty for remarks on the whole table."""

    mark: str
    text: str


@dataclass(frozen=True)
class Block:
    """Consecutive rows; title: printed above them, empty for none."""

    title: str
    rows: int


@dataclass(frozen=True)
class TableRow:
    """A row before the table is ranked. rankable: one for each cell. marks: of the row."""

    names: tuple[str, ...]
    cells: Sequence[Cell | None]
    rankable: Sequence[bool]
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """A row of a table as it is printed.

    names: its texts under the row headers. marks: of the row. cells: each with its column. block:
    the title of its block. begins: whether it is the first row of a block with a title.
    """

    names: tuple[str, ...]
    marks: tuple[str, ...]
    cells: tuple[tuple[Column, Cell | None], ...]
    block: str = ""
    begins: bool = False


@dataclass(frozen=True)
class ResultTable:
    """A table. rows: the texts under `row_headers`. cells: rows × columns, None for no result.

    show_n: whether cells print n, because it differs between them. digits: decimals of columns
    without their own. intervals: whether cells print them. blocks: consecutive, of all rows; empty
    for one block. row_marks: the marks of each row; empty without any.
    """

    title: str
    unit: str
    row_headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    footnotes: tuple[Footnote, ...] = ()
    show_n: bool = False
    digits: int = DIGITS
    intervals: bool = False
    blocks: tuple[Block, ...] = ()
    row_marks: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if len(self.rows) != len(self.cells):
            raise ValueError(f"{len(self.rows)} rows, {len(self.cells)} lines of cells")
        for row, cells in zip(self.rows, self.cells, strict=True):
            if len(row) != len(self.row_headers) or len(cells) != len(self.columns):
                raise ValueError(f"the row {row} does not fit the headers")
        if self.blocks and sum(block.rows for block in self.blocks) != len(self.rows):
            raise ValueError("the blocks do not hold all rows")
        if self.row_marks and len(self.row_marks) != len(self.rows):
            raise ValueError(f"{len(self.rows)} rows, {len(self.row_marks)} lists of marks")

    def number(self, cell: Cell, column: Column | None = None) -> str:
        """The printed value with ±, interval and n, without marks."""
        digits = self.digits if column is None or column.digits is None else column.digits
        text = f"{cell.value:.{digits}f}"
        if column is not None and column.digits is not None and cell.value > 0 == float(text):
            text = f"<{10.0**-digits:.{digits}f}"
        if cell.std is not None:
            text += f" ± {cell.std:.{digits}f}"
        if self.intervals and cell.low is not None and cell.high is not None:
            text += f" [{cell.low:.{digits}f}, {cell.high:.{digits}f}]"
        return f"{text} (n={cell.n})" if self.show_n and cell.n else text

    def groups(self) -> list[tuple[str, int]]:
        """The upper headers and the columns that each spans; empty without lower headers."""
        if not any(column.name for column in self.columns):
            return []
        names = groupby(column.group for column in self.columns)
        return [(name, len(list(columns))) for name, columns in names]

    def lines(self) -> Iterator[Line]:
        """The rows in order."""
        titles = [(b.title, n == 0) for b in self.blocks for n in range(b.rows)]
        titles = titles or [("", False)] * len(self.rows)
        marks = self.row_marks or ((),) * len(self.rows)
        for names, of_row, cells, (title, first) in zip(
            self.rows, marks, self.cells, titles, strict=True
        ):
            pairs = tuple(zip(self.columns, cells, strict=True))
            yield Line(names, of_row, pairs, title, first and bool(title))


class Footnotes:
    """Gives each different remark one mark, in the order of first use.

    † †† … for fields that differ from the protocol, ‡ for partial records, § §2 … for second-hand
    figures, 1 2 … for the rest.
    """

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def override(self, text: str) -> str:
        """The mark of a remark on a field that differs from the protocol."""
        return self._marks.setdefault(text, DAGGER * (self._used(DAGGER) + 1))

    def partial(self, text: str) -> str:
        """The mark of the remark on partial records."""
        return self._marks.setdefault(text, DOUBLE_DAGGER)

    def second_hand(self, text: str) -> str:
        """The mark of figures not published by the method's own authors; text: the source."""
        used = self._used(SECTION)
        return self._marks.setdefault(text, SECTION + (str(used + 1) if used else ""))

    def remark(self, text: str) -> str:
        """The mark of any other remark."""
        return self._marks.setdefault(text, str(self._used(*"123456789") + 1))

    def _used(self, *starts: str) -> int:
        return sum(mark.startswith(starts) for mark in self._marks.values())

    def listed(self) -> tuple[Footnote, ...]:
        """All footnotes, daggers first."""
        notes = [Footnote(mark, text) for text, mark in self._marks.items()]
        return tuple(sorted(notes, key=lambda note: (note.mark.isdigit(), len(note.mark))))


def rank_columns(
    rows: Sequence[TableRow], columns: Sequence[Column], lowest: Sequence[bool]
) -> tuple[tuple[Cell | None, ...], ...]:
    """The cells with `place` set for the best and second best of each column, as printed.

    lowest: whether the lowest value of a column is the best. Equal prints share a place. A column
    with fewer than two rankable cells has no places.
    """
    grid = [list(row.cells) for row in rows]
    for index, (column, reverse) in enumerate(zip(columns, lowest, strict=True)):
        digits = DIGITS if column.digits is None else column.digits
        printed = {
            number: (cell, round(cell.value, digits))
            for number, row in enumerate(rows)
            if (cell := row.cells[index]) is not None and row.rankable[index]
        }
        if len(printed) < 2:
            continue
        best = sorted({value for _, value in printed.values()}, reverse=not reverse)
        for number, (cell, value) in printed.items():
            if value in best[:2]:
                grid[number][index] = replace(cell, place=1 if value == best[0] else 2)
    return tuple(map(tuple, grid))
