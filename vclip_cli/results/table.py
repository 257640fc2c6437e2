"""Tables of results: methods in rows, datasets in columns, from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vclip_cli.common.errors import UsageError
from vclip_cli.results.collect import (
    LoadedRecord,
    Paths,
    collect_records,
    group_by_protocol,
    leave_out_partial,
    other_manifests,
    require_equal_test_sets,
    require_one_protocol,
)
from vclip_cli.results.comparison import compare_methods
from vclip_cli.results.layout import TableLayout
from vclip_cli.results.measure import described
from vclip_cli.results.published import (
    NOTHING_FITS,
    RANKED_TITLE,
    TITLE,
    Published,
    PublishedBlock,
    load_published,
)
from vclip_cli.results.render import html_tables, render, result_rows
from vclip_cli.results.render_terminal import terminal_text
from vclip_cli.results.result_table import (
    Block,
    Footnote,
    Footnotes,
    ResultTable,
    rank_columns,
)

if TYPE_CHECKING:
    import pandas as pd

INTERVALS_NOTE = (
    "in brackets 95 % intervals: of one record over its videos (Wilson for accuracies, otherwise a"
    " bootstrap), of a mean over records by Student's t"
)
GFLOPS_NOTE = (
    "GFLOPs: billions of multiply-adds, as papers count them, of scoring one video over all its"
    " views"
)


@dataclass(frozen=True, repr=False)
class ResultTables:
    """What `table` gives: one table, or one for each protocol. A notebook shows it as HTML.

    left_out: the number of partial records that are not shown.
    """

    tables: tuple[ResultTable, ...]
    left_out: int = 0

    def to_frame(self) -> pd.DataFrame:
        """One row per result, as in `to_csv`; numbers are not rounded."""
        import pandas as pd

        names, rows = result_rows(self.tables)
        return pd.DataFrame(rows, columns=names)

    def to_markdown(self) -> str:
        """A Markdown table each."""
        return render(self.tables, "md")

    def to_csv(self) -> str:
        """One line per result, for spreadsheets; numbers are not rounded."""
        return render(self.tables, "csv")

    def to_latex(self) -> str:
        """A booktabs table each."""
        return render(self.tables, "latex")

    def to_html(self) -> str:
        """An HTML page."""
        return render(self.tables, "html")

    def to_json(self) -> str:
        """One document with everything that the tables hold."""
        return render(self.tables, "json")

    def to_text(self) -> str:
        """As a terminal shows it, without colours."""
        return terminal_text(self.tables)

    def __repr__(self) -> str:
        return self.to_text().rstrip()

    def _repr_html_(self) -> str:
        return html_tables(self.tables)


def table(
    paths: Paths = "runs",
    *,
    metric: str | Sequence[str] | None = None,
    costs: bool | None = None,
    intervals: bool = False,
    published: bool = False,
    all_published: bool = False,
    rank_published: bool = False,
    compare: tuple[str, str] | None = None,
    partial: bool = False,
    by_protocol: bool = False,
) -> ResultTables:
    """The results of many runs as one table: methods in rows, datasets in columns.

    Repeats that the protocol's `aggregate` names are joined to mean and standard deviation.

    paths: records, or folders that hold them. metric: names of metrics, by default the protocol's.
    costs: GFLOPs and trainable parameters, by default where all methods use several views of a
    video. intervals: 95 % intervals. published: papers' figures of these methods below ours;
    all_published: of other methods too; rank_published: rank them together. compare: test two
    methods, or folders of records, for a difference on the same videos. partial: show partial
    records (--limit) too. by_protocol: a table for each protocol. Raises ComparisonRefused when the
    records cannot be compared, UsageError for an unknown metric or options that do not fit,
    DataError when there is no record.
    """
    if compare is not None and (published or all_published or costs or by_protocol):
        raise UsageError("--compare does not go with --published, --costs or --by-protocol")
    if rank_published and not (published or all_published):
        raise UsageError("--rank-published needs --published")
    records = collect_records(paths)
    left_out = 0 if partial else sum(loaded.record.partial for loaded in records)
    if compare is not None:
        kept = records if partial else leave_out_partial(records)
        first = [metric] if isinstance(metric, str) else [*(metric or ()), None]
        return ResultTables((compare_methods(kept, *compare, first[0]),), left_out)
    figures = load_published() if published or all_published else None
    tables = build_tables(
        records,
        metric,
        partial=partial,
        by_protocol=by_protocol,
        costs=costs,
        intervals=intervals,
        published=figures if figures is None or all_published else figures.of_own_methods(),
        rank_published=rank_published,
    )
    return ResultTables(tuple(tables), left_out)


def build_tables(
    records: Sequence[LoadedRecord],
    metric: str | Sequence[str] | None = None,
    *,
    partial: bool = False,
    by_protocol: bool = False,
    costs: bool | None = None,
    intervals: bool = False,
    published: Published | None = None,
    rank_published: bool = False,
) -> list[ResultTable]:
    """The tables of records, one or with `by_protocol` one for each protocol; see `table`.

    published: the papers' figures to show. Raises ComparisonRefused, UsageError and DataError as
    `table` does.
    """
    if not partial:
        records = leave_out_partial(records)
    if not by_protocol:
        require_one_protocol(records)
    asked = [metric] if isinstance(metric, str) else metric
    tables = []
    for group in group_by_protocol(records):
        require_equal_test_sets(group)
        layout = TableLayout.of(group, asked, costs)
        tables.append(_build_table(layout, intervals, published, rank_published))
    return tables


def _build_table(
    layout: TableLayout, intervals: bool, published: Published | None, rank_published: bool
) -> ResultTable:
    """The table of records that follow one protocol."""
    notes = Footnotes()
    rows = [layout.line(row, notes) for row in layout.rows]
    repeats = {cell.n for row in rows for cell in row.cells if cell is not None}
    general = _general_notes(layout, repeats, intervals)
    blocks: tuple[Block, ...] = ()
    if published is not None:
        theirs = PublishedBlock(published, layout, notes).rows(ranked=rank_published)
        title = RANKED_TITLE if rank_published else TITLE
        blocks = (Block("", len(rows)), Block(title, len(theirs)))
        general += [] if theirs else [NOTHING_FITS]
        rows += theirs
    columns = layout.columns()
    lowest = [described(place.metric).direction == "lower" for place in layout.places]
    unit = ", ".join(dict.fromkeys(layout.units.values()))
    return ResultTable(
        title=_title(layout, unit),
        unit=unit,
        row_headers=layout.headers,
        rows=tuple(row.names for row in rows),
        columns=columns,
        cells=rank_columns(rows, columns, lowest),
        footnotes=(*(Footnote("", text) for text in general), *notes.listed()),
        show_n=len(repeats) > 1,
        intervals=intervals,
        blocks=blocks,
        row_marks=tuple(row.marks for row in rows) if any(row.marks for row in rows) else (),
    )


def _general_notes(layout: TableLayout, repeats: set[int], intervals: bool) -> list[str]:
    """Footnotes of the whole table. repeats: the numbers of records in its cells."""
    texts = []
    if max(repeats, default=0) > 1:
        count = f"{max(repeats)} records" if len(repeats) == 1 else "n records"
        over = " or ".join(", ".join(layout.joined.over).rsplit(", ", 1))
        texts.append(f"mean ± sample standard deviation over {count} ({over})")
    texts += [INTERVALS_NOTE] if intervals else []
    texts += [GFLOPS_NOTE] if layout.costs else []
    return texts + other_manifests(layout.records)


def _title(layout: TableLayout, unit: str) -> str:
    shots = {loaded.record.protocol.shots for loaded in layout.records}
    only = next(iter(shots))
    few = f", {only}-shot" if len(shots) == 1 and only is not None else ""
    names = ", ".join(described(name).title for name in layout.metrics)
    return f"{layout.records[0].record.protocol.title}{few}: {names} ({unit})"
