"""What a check of a record is, and the checks of the predictions beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_file
from vclip_cli.common.resources import list_metrics
from vclip_cli.engine.specs import COUNT_AS_WRONG
from vclip_cli.results.measure import measure
from vclip_cli.results.metric import MetricValue
from vclip_cli.results.predictions import Predictions, read_predictions
from vclip_cli.results.record import Record

Status = Literal["match", "differs", "not checked"]
MATCH: Status = "match"
DIFFERS: Status = "differs"
UNCHECKED: Status = "not checked"
SHOWN = 3
EXACTLY = 1e-9
"""Metrics are computed again from the same scores, so only the order of sums differs."""


@dataclass(frozen=True)
class Check:
    """what: what was checked; detail: what was found, or why it could not be checked."""

    what: str
    status: Status
    detail: str


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


@dataclass(frozen=True, eq=False)
class Subject:
    """A record at `path`, and its checks so far."""

    path: Path
    record: Record
    seen: Seen
    checks: list[Check] = field(default_factory=list)

    def note(self, what: str, status: Status, detail: str) -> None:
        """Add a check."""
        self.checks.append(Check(what, status, detail))

    def note_problems(self, what: str, problems: Sequence[str], otherwise: str) -> None:
        """Add a check that differs where there are problems, and matches where there are none."""
        self.note(what, DIFFERS if problems else MATCH, "; ".join(problems) or otherwise)

    def note_hash(self, what: str, found: str, stated: str | None, detail: str = "") -> None:
        """Add whether a sha256 is the one that the record states."""
        if stated is None:
            self.note(what, UNCHECKED, "the record states none")
        elif found == stated:
            self.note(what, MATCH, f"sha256 {found[:12]}…" + (f", {detail}" if detail else ""))
        else:
            text = f"sha256 {found[:12]}…, the record states {stated[:12]}…"
            self.note(what, DIFFERS, f"{text}; {detail}" if detail else text)


@dataclass(frozen=True)
class Seen:
    """Hashes that one command has computed; it assumes that files do not change meanwhile."""

    files: dict[Path, str] = field(default_factory=dict)
    backbones: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def file_sha256(self, path: Path) -> str:
        """The sha256 of a file. Raises DataError when it cannot be read."""
        if path not in self.files:
            try:
                self.files[path] = sha256_file(path)
            except OSError as error:
                text = f"cannot be read: {error.strerror or error}"
                raise DataError(text, where=str(path)) from error
        return self.files[path]

    def backbone_sha256(self, name: str, pretrained: str | None) -> str:
        """The content hash of a backbone's weights, which are loaded for it.

        Raises UsageError and WeightsError as `load_backbone` does.
        """
        from vclip_cli.models.backbone import load_backbone

        if (name, pretrained) not in self.backbones:
            self.backbones[name, pretrained] = load_backbone(name, pretrained).weights_sha256
        return self.backbones[name, pretrained]


# The predictions beside a record ------------------------------------------------------------------


def check_predictions(subject: Subject) -> Predictions | None:
    """Check the file beside the record; gives what it holds, if it can be read."""
    stated = subject.record.predictions
    if stated is None:
        subject.note("predictions", UNCHECKED, "the record was written without any")
        return None
    file = subject.path.parent / stated.file
    if not file.is_file():
        subject.note("predictions", DIFFERS, f"the file {file} is missing")
        return None
    try:
        found = subject.seen.file_sha256(file)
    except DataError as error:
        subject.note("predictions", UNCHECKED, str(error))
        return None
    subject.note_hash("predictions", found, stated.sha256, str(file))
    try:
        predictions = read_predictions(file)
    except DataError as error:
        subject.note("metrics", UNCHECKED, str(error))
        return None
    _check_counts(subject, predictions)
    _check_metrics(subject, predictions)
    return predictions


def _check_counts(subject: Subject, predictions: Predictions) -> None:
    record, counts = subject.record, subject.record.counts
    problems = []
    if len(predictions.videos) != counts.scored:
        problems.append(f"{len(predictions.videos):,} scored, the record says {counts.scored:,}")
    if list(predictions.classes) != record.dataset.classes:
        problems.append("other classes, or another order, than the record's")
    failed = {failure.video for failure in record.failures}
    if both := sorted(failed & set(predictions.videos)):
        problems.append(f"scored although listed as failed: {some(both)}")
    text = f"{counts.scored:,} scored, {counts.failed:,} failed of {counts.listed:,} listed"
    subject.note_problems("scored videos", problems, text)


def _check_metrics(subject: Subject, predictions: Predictions) -> None:
    record, known = subject.record, list_metrics()
    if record.failures and record.config.get("on_error") == COUNT_AS_WRONG:
        text = "videos without predictions count as wrong: --rerun computes them again"
        return subject.note("metrics", UNCHECKED, text)
    try:
        again = measure(
            predictions.scores,
            predictions.labels,
            predictions.classes,
            names=[name for name in record.metrics if name in known],
            kind=record.kind,
            threshold=None if record.decision is None else record.decision.threshold,
        )
    except DataError as error:
        text = f"cannot be computed from the predictions: {error}"
        return subject.note("metrics", DIFFERS, text)
    both = [name for name in record.metrics if name in again.metrics]
    moved = []
    for name in both:
        stated, found = record.metrics[name], again.metrics[name]
        if not _equal(stated, found):
            moved.append(f"{name} is {found.value:.4f}, the record says {stated.value:.4f}")
    for old, new in zip(record.per_class.values, again.per_class.values, strict=True):
        if old.n != new.n or not _close(old.value, new.value):
            moved.append(f"the class {old.name!r} differs")
    if not both and not moved:
        text = "this version computes none of the record's metrics"
        return subject.note("metrics", UNCHECKED, text)
    problems = [*moved[:4], *(["…"] if moved[4:] else [])]
    text = f"{', '.join(both)} computed again from the predictions"
    return subject.note_problems("metrics", problems, text)


def _equal(one: MetricValue, other: MetricValue) -> bool:
    values = [(one.value, other.value), (one.low, other.low), (one.high, other.high)]
    return one.n == other.n and all(_close(*pair) for pair in values)


def _close(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=EXACTLY)
