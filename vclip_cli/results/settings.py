"""What tells two runs of a method apart, so that only repeats of one run are averaged."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from vclip_cli.common.files import canonical_json, sha256_json
from vclip_cli.results.record import Record


def settings_of(record: Record) -> dict[str, str]:
    """All that changes a score beside data, protocol, split and seeds: name to printable value."""
    video = record.video
    settings = {  # names with blanks, which no option of a method has
        "backbone weights": record.backbone.weights_sha256[:12],
        "backbone quick_gelu": str(record.backbone.quick_gelu),
        "prompt templates": " | ".join(record.prompts.templates),
        "prompt text": str(record.prompts.text_variant),
        "computing precision": record.compute.precision,
        "partial run": str(record.partial),
        "overlap allowed": str(record.overlap_allowed),
        "frame store": sha256_json(video.store)[:12] if video.store else "none",
    }
    settings |= {name: printable(value) for name, value in record.adapter.config.items()}
    for part, values in {
        "decoder": video.decoder,
        "sampling": video.sampling,
        "preprocessing": video.preprocessing,
    }.items():
        settings |= {f"{part} {name}": printable(value) for name, value in values.items()}
    for override in record.overrides:
        name = f"{override.field} (protocol: {printable(override.protocol)})"
        settings[name] = printable(override.used)
    return settings


def identities_of(record: Record) -> dict[str, str]:
    """Hashes of what a run used, which differ from dataset to dataset, or from seed to seed."""
    return {
        "prompts": sha256_json(record.prompts.texts)[:12],
        "checkpoint": (record.adapter.checkpoint_sha256 or "none")[:12],
    }


def distinguishing(
    records: Sequence[Record], columns: Sequence[Hashable]
) -> list[tuple[tuple[str, str], ...]]:
    """For each record, the (setting, value) pairs that keep it apart from the others.

    columns: the column that each record belongs to. Only settings that differ within one column
    count, so that what differs from dataset to dataset keeps one row. Hashes of prompts and
    checkpoint count where two records of a column agree in everything else, their split and
    seeds included: they come from two trainings, or from two lists of prompts.
    """
    settings = [settings_of(record) for record in records]
    names = sorted({name for entry in settings for name in entry})
    chosen = [name for name in names if _differs(name, settings, columns)]
    for entry, record in zip(settings, records, strict=True):
        entry.update(identities_of(record))
    runs = [(column, replicate_of(r)) for column, r in zip(columns, records, strict=True)]
    for name in ("prompts", "checkpoint"):
        alike = [
            (run, *(entry.get(other) for other in chosen))
            for run, entry in zip(runs, settings, strict=True)
        ]
        if _differs(name, settings, alike):
            chosen.append(name)
    return [tuple((name, entry.get(name, "none")) for name in chosen) for entry in settings]


def test_set_of(record: Record) -> str:
    """`split`, or `split/part`."""
    dataset = record.dataset
    return dataset.split if dataset.part is None else f"{dataset.split}/{dataset.part}"


def replicate_of(record: Record) -> tuple[str, str]:
    """Which repeat of a run a record is: its split and part, and its seeds."""
    return test_set_of(record), canonical_json(record.seeds)


def _differs(name: str, settings: Sequence[dict[str, str]], groups: Sequence[Hashable]) -> bool:
    values: dict[Hashable, set[str | None]] = {}
    for entry, group in zip(settings, groups, strict=True):
        values.setdefault(group, set()).add(entry.get(name))
    return any(len(found) > 1 for found in values.values())


def printable(value: Any) -> str:
    """A setting's value as text: strings as they are, lists of strings with ` | ` between."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(entry, str) for entry in value):
        return " | ".join(value)
    return canonical_json(value)
