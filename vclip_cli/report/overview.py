"""The tables at the head of a page, as `vclip table` makes them; refusals are said, not raised."""

from __future__ import annotations

from collections.abc import Sequence

from vclip_cli.common.errors import VclipError
from vclip_cli.results.collect import LoadedRecord, group_by_protocol
from vclip_cli.results.result_table import ResultTable
from vclip_cli.results.table import build_tables


def overview_tables(
    records: Sequence[LoadedRecord],
) -> tuple[list[ResultTable], list[str]]:
    """The tables, and why some results do not stand side by side.

    Partial records are shown, marked. Results that cannot be compared get a table each.
    """
    tables: list[ResultTable] = []
    refusals: list[str] = []
    for group in group_by_protocol(records):
        try:
            tables += build_tables(group, partial=True)
        except VclipError as error:
            refusals.append(str(error))
            tables += [table for loaded in group for table in build_tables([loaded], partial=True)]
    return tables, refusals
