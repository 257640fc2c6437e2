"""What each result is called, and where it comes from, as titled lists for the page."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.escaping import plain
from vclip_cli.results.grouping import printable, test_set_of
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
    """A name and its value; `items`: the entries of a long list, which is folded."""

    name: str
    value: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A part of a record."""

    title: str
    facts: tuple[Fact, ...]


def test_name(record: Record) -> str:
    """`dataset/split/part`."""
    return f"{record.dataset.name}/{test_set_of(record)}"


def name_results(records: Sequence[LoadedRecord]) -> list[str]:
    """A name for each result: method and test set; then shots and seed, then the folder, where
    they are needed to tell results apart."""
    names = [_short(loaded.record) for loaded in records]
    for more in (_run, _folder):
        twice = {name for name, count in Counter(names).items() if count > 1}
        names = [
            f"{name}, {more(loaded)}" if name in twice and more(loaded) else name
            for name, loaded in zip(names, records, strict=True)
        ]
    return [plain(name) for name in names]


def _short(record: Record) -> str:
    return f"{record.adapter.name} on {test_name(record)}"


def _run(loaded: LoadedRecord) -> str:
    record = loaded.record
    shots, seed = record.protocol.shots, record.seeds.get("train")
    parts = [f"{shots}-shot"] if shots is not None else []
    return ", ".join(parts + ([f"seed {seed}"] if seed is not None else []))


def _folder(loaded: LoadedRecord) -> str:
    return str(loaded.path.parent)


def comparable(one: Record, other: Record) -> bool:
    """Whether two results are of the same videos, and the same classes in the same order."""
    return (
        one.dataset.name == other.dataset.name
        and one.dataset.split_sha256 == other.dataset.split_sha256
        and one.dataset.classes == other.dataset.classes
    )


def command_of(record: Record) -> str:
    """The command line that made the record, quoted for a shell, on one line."""
    return plain(shlex.join(record.command))


def warnings_of(record: Record) -> list[str]:
    """What a reader must know before any number of this record.

    Differences from the protocol are not here: tables mark them with daggers.
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
    """Everything in a record but the per-class values, which have their own table.

    A section that this version does not know keeps its key as its title.
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
