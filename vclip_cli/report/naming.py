"""What each result is called on a page, and which of them can be compared clip by clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.escaping import plain
from vclip_cli.results.grouping import test_set_of
from vclip_cli.results.record import Record


def test_name(record: Record) -> str:
    """`dataset/split/part`."""
    return f"{record.dataset.name}/{test_set_of(record)}"


def name_results(records: Sequence[LoadedRecord]) -> list[str]:
    """A name for each result: method and test set, then shots and seed, then the folder, as far as
    they are needed to tell all apart."""
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
    """Whether two results are of the same videos and the same classes in the same order."""
    return (
        one.dataset.name == other.dataset.name
        and one.dataset.split_sha256 == other.dataset.split_sha256
        and one.dataset.classes == other.dataset.classes
    )
