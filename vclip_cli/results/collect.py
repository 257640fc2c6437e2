"""Finding records and their predictions, and refusing records that cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from vclip_cli.common.errors import ComparisonRefused, DataError
from vclip_cli.common.files import sha256_file
from vclip_cli.results.predictions import Predictions, read_predictions
from vclip_cli.results.record import RECORD_FILE, Record, RecordError, read_record


@dataclass(frozen=True)
class LoadedRecord:
    """A record and the file it came from."""

    path: Path
    record: Record


Paths = str | PathLike[str] | Iterable[str | PathLike[str]]
"""One file or folder, or several."""


def collect_records(paths: Paths) -> list[LoadedRecord]:
    """All records at some paths: record files, and every `record.json` below folders.

    Sorted by path, each file once. Raises RecordError for a damaged record, DataError when a path
    does not exist or there is no record at all.
    """
    return [LoadedRecord(path, read_record(path)) for path in find_records(paths)]


def find_records(paths: Paths) -> list[Path]:
    """The files that `collect_records` reads. Raises the same DataErrors."""
    found: dict[Path, Path] = {}
    searched = [Path(paths)] if isinstance(paths, str | PathLike) else [*map(Path, paths)]
    for path in searched:
        if path.is_dir():
            files = sorted(path.rglob(RECORD_FILE))
        elif path.is_file():
            files = [path]
        else:
            raise DataError("no such file or folder", where=str(path))
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise RecordError(
            f"no {RECORD_FILE} was found",
            where=", ".join(map(str, searched)) or "no path",
            hint="records are written by: vclip eval",
        )
    return sorted(found.values())


def leave_out_partial(records: Sequence[LoadedRecord]) -> list[LoadedRecord]:
    """The records that are not partial. Raises DataError when none is left."""
    whole = [loaded for loaded in records if not loaded.record.partial]
    if records and not whole:
        raise DataError(
            "all records are partial: they were scored with --limit",
            where=str(records[0].path),
            hint="add --partial to show them",
        )
    return whole


def group_by_protocol(records: Sequence[LoadedRecord]) -> list[list[LoadedRecord]]:
    """The records of each protocol, sorted by its name, version and hash."""
    groups: dict[tuple[str, str, str], list[LoadedRecord]] = {}
    for loaded in records:
        protocol = loaded.record.protocol
        key = (protocol.name, str(protocol.version), protocol.sha256)
        groups.setdefault(key, []).append(loaded)
    return [groups[key] for key in sorted(groups)]


def require_one_protocol(records: Sequence[LoadedRecord]) -> None:
    """Raises ComparisonRefused, naming the files, when the records follow different protocols."""
    firsts = [group[0] for group in group_by_protocol(records)]
    if len(firsts) > 1:
        protocols = [loaded.record.protocol for loaded in firsts]
        raise ComparisonRefused(
            "the records follow different protocols",
            where=_examples(firsts),
            found="; ".join(f"{p.name} version {p.version} ({p.sha256[:12]})" for p in protocols),
            expected="one protocol in a table",
            hint="name fewer folders, or print a table for each with --by-protocol",
        )


def require_equal_test_sets(records: Sequence[LoadedRecord]) -> None:
    """Raises ComparisonRefused, naming the files, when one test set has two forms.

    For each dataset, split and part: the list of videos to score, the label set, and the classes
    in order must be the same in all records.
    """
    first: dict[tuple[str, str, str | None], LoadedRecord] = {}
    for loaded in records:
        dataset = loaded.record.dataset
        known = first.setdefault((dataset.name, dataset.split, dataset.part), loaded)
        other = known.record.dataset
        differences = {
            "the list of videos to score": (other.split_sha256, dataset.split_sha256),
            "the label set": (other.label_set.sha256, dataset.label_set.sha256),
            "the classes or their order": (other.classes, dataset.classes),
        }
        for what, (expected, found) in differences.items():
            if expected != found:
                shown = isinstance(expected, str) and isinstance(found, str)
                part = f" ({dataset.part})" if dataset.part else ""
                raise ComparisonRefused(
                    f"the records of {dataset.name}, split {dataset.split}{part}, differ in {what}",
                    where=_examples([known, loaded]),
                    found=f"{expected[:12]} and {found[:12]}" if shown else None,
                    hint="evaluate both on the same split file, or name fewer folders",
                )


def other_manifests(records: Sequence[LoadedRecord]) -> list[str]:
    """A remark for each dataset whose records come from several manifests.

    The test lists are equal, as `require_equal_test_sets` checks. Other lists, such as the training
    videos, may differ.
    """
    found: dict[str, set[str]] = {}
    for loaded in records:
        dataset = loaded.record.dataset
        if dataset.manifest_sha256 is not None:
            found.setdefault(dataset.name, set()).add(dataset.manifest_sha256)
    return [
        f"{name}: the records come from different manifests"
        f" ({', '.join(sorted(sha256[:12] for sha256 in hashes))}); their test lists are equal,"
        " other lists differ"
        for name, hashes in sorted(found.items())
        if len(hashes) > 1
    ]


def recorded_predictions(loaded: LoadedRecord) -> Predictions:
    """The predictions beside a record. Raises DataError when they are missing or changed."""
    file = loaded.record.predictions
    if file is None:
        raise DataError(
            "the record has no predictions", where=str(loaded.path), hint="evaluate again"
        )
    path = loaded.path.parent / file.file
    if not path.is_file():
        raise DataError(
            "the predictions of the record are missing",
            where=str(path),
            hint="copy them beside the record, or evaluate again",
        )
    found = sha256_file(path)
    if found != file.sha256:
        raise DataError(
            "the predictions are not those that the record was made from",
            where=str(path),
            found=f"sha256 {found[:12]}…",
            expected=f"{file.sha256[:12]}…, as {loaded.path.name} says",
            hint="evaluate again with the same --out: changed predictions are replaced",
        )
    return read_predictions(path)


def _examples(records: Sequence[LoadedRecord], shown: int = 4) -> str:
    names = [str(loaded.path) for loaded in records[:shown]]
    return ", ".join(names) + (f" and {len(records) - shown} more" if len(records) > shown else "")
