"""The tables at the head of a page, as `vclip table` makes them; refusals are said, not raised."""

from __future__ import annotations

from collections.abc import Sequence

from vclip_cli.common.errors import VclipError
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.layout import MAIN_METRICS
from vclip_cli.results.result_table import ResultTable
from vclip_cli.results.table import build_table, build_tables


def overview_tables(
    records: Sequence[LoadedRecord],
) -> tuple[list[ResultTable], list[str]]:
    """The tables, and why some results do not stand side by side.

    Partial records are shown, marked. Results that cannot be compared get a table each.
    """
    tables: list[ResultTable] = []
    refusals: list[str] = []
    for group in _by_main_metric(records):
        try:
            tables += build_tables(group, partial=True, by_protocol=True)
        except VclipError as error:
            refusals.append(str(error))
            tables += [build_table([loaded]) for loaded in group]
    return tables, refusals


def _by_main_metric(records: Sequence[LoadedRecord]) -> list[list[LoadedRecord]]:
    groups: dict[str, list[LoadedRecord]] = {}
    for loaded in records:
        metrics = loaded.record.metrics
        main = next((name for name in MAIN_METRICS if name in metrics), next(iter(metrics)))
        groups.setdefault(main, []).append(loaded)
    return list(groups.values())
