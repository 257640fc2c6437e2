"""Which numbers a table shows: as papers do for each protocol, or as a person asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vclip_cli.common.errors import ComparisonRefused, UsageError, did_you_mean
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.names import metric_order

MAIN_METRICS = ("top1", "map")
PAPERS_METRICS = {"supervised": ("top1", "top5")}
"""Protocols whose tables print more than the main metric."""
PAPERS_COSTS = ("supervised",)
"""Protocols whose tables print what a method costs."""


@dataclass(frozen=True)
class Layout:
    """metrics: names in the records; costs: whether GFLOPs and trainable parameters are shown."""

    metrics: tuple[str, ...]
    costs: bool


def choose_layout(
    records: Sequence[LoadedRecord], metrics: Sequence[str] | None, costs: bool | None
) -> Layout:
    """What was asked for, else what papers print under this protocol.

    That is top-1 and top-5 with the costs where all classes are trained on, every metric of the
    records where they are multi-label, and otherwise `top1`, or `map` where there is no `top1`.
    Raises UsageError for a metric that is unknown or that a record lacks.
    """
    protocol = records[0].record.protocol.name
    shown = protocol in PAPERS_COSTS if costs is None else costs
    if metrics:
        return Layout(tuple(_required(records, name) for name in dict.fromkeys(metrics)), shown)
    printed = PAPERS_METRICS.get(protocol, ())
    if printed and all(name in entry.record.metrics for entry in records for name in printed):
        return Layout(printed, shown)
    main = next((name for name in MAIN_METRICS if _in_all(records, name)), None)
    if main == "map":
        held = {name for entry in records for name in entry.record.metrics}
        return Layout(tuple(sorted(held, key=metric_order)), shown)
    return Layout((main or _required(records, MAIN_METRICS[0]),), shown)


def _in_all(records: Sequence[LoadedRecord], name: str) -> bool:
    return all(name in loaded.record.metrics for loaded in records)


def _required(records: Sequence[LoadedRecord], name: str) -> str:
    known = {held: None for loaded in records for held in loaded.record.metrics}
    if _in_all(records, name):
        return name
    if name not in known and name != MAIN_METRICS[0]:
        raise UsageError(f"no record has the metric {name!r}", hint=did_you_mean(name, known))
    lacking = next(entry for entry in records if name not in entry.record.metrics)
    raise UsageError(
        f"not every record has the metric {name!r}",
        where=str(lacking.path),
        found=", ".join(lacking.record.metrics),
        hint="choose another with --metric, or name fewer folders",
    )


def common_unit(records: Sequence[LoadedRecord], metric: str) -> str:
    """The unit of a metric. Raises ComparisonRefused when the records differ in it."""
    having = [loaded for loaded in records if metric in loaded.record.metrics]
    units = {loaded.record.metrics[metric].unit: loaded for loaded in having}
    if len(units) > 1:
        raise ComparisonRefused(
            f"the records give {metric} in different units",
            where=", ".join(str(loaded.path) for loaded in units.values()),
            found=", ".join(sorted(units)),
            hint="name fewer folders",
        )
    return next(iter(units))
