"""Where a result comes from, as titled lists of names and values for the page."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vclip_cli.results.escaping import plain
from vclip_cli.results.grouping import printable
from vclip_cli.results.record import Record

SECTIONS = {
    "package": "Package",
    "config": "Resolved options",
    "overrides": "Differs from the protocol",
    "protocol": "Protocol",
    "dataset": "Dataset",
    "prompts": "Prompts",
    "backbone": "Backbone",
    "adapter": "Method",
    "video": "Frames and views",
    "compute": "Computing",
    "seeds": "Seeds",
    "counts": "Videos",
    "failures": "Videos that could not be scored",
    "damage": "Videos with signs of damage",
    "metrics": "Metrics",
    "decision": "Probabilities and threshold",
    "without_positives": "Classes without a video",
    "predictions": "Predictions",
    "cost": "Cost",
    "timing": "Time",
}
LONG = 6
"""Lists longer than this are folded away."""


@dataclass(frozen=True)
class Fact:
    """A name and its value; `items` instead of a value where it is a long list."""

    name: str
    value: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a record."""

    title: str
    facts: tuple[Fact, ...]


def command_of(record: Record) -> str:
    """The command line that made the record, quoted for a shell, on one line."""
    return plain(shlex.join(record.command))


def warnings_of(record: Record) -> list[str]:
    """What must be said before any number of this record is read.

    What differs from the protocol has its daggers in the tables.
    """
    counts = record.counts
    warnings = []
    if record.partial:
        warnings.append(
            f"Partial: {counts.scored:,} of {counts.listed:,} listed videos were scored (--limit)."
        )
    if record.overlap_allowed:
        warnings.append("Videos of the training list were scored as well (--allow-overlap).")
    if counts.failed:
        warnings.append(f"{counts.failed:,} of {counts.listed:,} listed videos could not be read.")
    return [plain(text) for text in [*warnings, *record.marks, *record.dataset.remarks]]


def provenance(record: Record) -> list[Section]:
    """Everything that a record holds beside its per-class values, which have a table of their own.

    A section that this version does not know keeps its own name.
    """
    values = record.model_dump(mode="json", exclude={"per_class", "command", "marks"})
    values["prompts"]["texts"] = [
        f"{name}: {' | '.join(texts)}"
        for name, texts in zip(record.dataset.classes, record.prompts.texts, strict=True)
    ]
    values["failures"] = [
        f"{entry.video} ({entry.path or 'no file'}): {entry.reason}" for entry in record.failures
    ]
    values["overrides"] = [
        f"{entry.field}: {printable(entry.used)}; protocol: {printable(entry.protocol)}"
        for entry in record.overrides
    ]
    loose = {name: value for name, value in values.items() if not isinstance(value, dict | list)}
    sections = [Section("Record", tuple(_facts("", loose)))]
    for name, value in values.items():
        if name not in loose and value:
            title = SECTIONS.get(name, name.replace("_", " "))
            sections.append(Section(title, tuple(_facts("", value))))
    return sections


def _facts(name: str, value: Any) -> Iterator[Fact]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _facts(f"{name} · {key}" if name else str(key), inner)
        return
    shown = plain(name.replace("_", " ")) or "all"
    if isinstance(value, list):
        items = tuple(plain(printable(entry)) for entry in value)
        if len(items) > LONG:
            yield Fact(shown, f"{len(items):,} entries", items)
        else:
            yield Fact(shown, "; ".join(items) or "none")
        return
    yield Fact(shown, plain("none" if value is None else printable(value)))
