"""The rows of a table: what a method is called, how it looked at the videos, what it costs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.grouping import RowKey

HEADERS = ("Method", "Backbone", "Frames", "Views")
COSTS = ("GFLOPs", "Trainable (M)")
SETTINGS = "Settings"
GFLOPS_NOTE = (
    "GFLOPs: billions of multiply-adds, which is what papers print, of scoring one video over all"
    " its views"
)


def label_rows(
    rows: Sequence[RowKey], members: Sequence[Sequence[LoadedRecord]], costs: bool
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """The headers and the texts of all rows. members: the records of each row."""
    with_settings = any(row.settings for row in rows)
    headers = (*HEADERS, *(COSTS if costs else ()), *((SETTINGS,) if with_settings else ()))
    labels = []
    for row, entries in zip(rows, members, strict=True):
        label = [row.method, row.backbone, listed(row.frames), listed(map(views_text, row.views))]
        if costs:
            label += [_gflops(entries), _trainable(entries)]
        if with_settings:
            label.append(", ".join(f"{name}={value}" for name, value in row.settings))
        labels.append(tuple(label))
    return headers, tuple(labels)


def views_text(views: tuple[int, int]) -> str:
    """Temporal clips times spatial crops."""
    return f"{views[0]}×{views[1]}"


def listed(values: Iterable[object]) -> str:
    """Values with commas between."""
    return ", ".join(map(str, values))


def _gflops(entries: Sequence[LoadedRecord]) -> str:
    costs = [entry.record.cost for entry in entries]
    counted = sorted({cost.multiply_adds_per_video for cost in costs if cost is not None})
    return listed(dict.fromkeys(_billions(count) for count in counted)) or "–"


def _billions(count: int) -> str:
    return f"{count / 1e9:,.{1 if count >= 1e10 else 2}f}"


def _trainable(entries: Sequence[LoadedRecord]) -> str:
    counts = sorted({entry.record.adapter.trainable_parameters for entry in entries})
    return listed(dict.fromkeys(f"{count / 1e6:,.2f}" for count in counts))
