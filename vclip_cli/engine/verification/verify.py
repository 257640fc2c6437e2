"""`vclip verify`: every hash of a record against its files, and the evaluation done again."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vclip_cli.common.errors import DataError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.evaluation.evaluate import evaluate_plan
from vclip_cli.engine.evaluation.plan import plan_evaluation
from vclip_cli.engine.loading.datasets import STORE
from vclip_cli.engine.requests import Request, recorded_request
from vclip_cli.engine.runs.diagnosis import package_facts
from vclip_cli.engine.specs import SOURCE
from vclip_cli.engine.verification.checks import DIFFERS, UNCHECKED, Check, Seen
from vclip_cli.engine.verification.predictions import check_predictions
from vclip_cli.engine.verification.sources import (
    check_backbone,
    check_checkpoint,
    check_dataset,
    check_protocol,
    splits_of,
)
from vclip_cli.results.predictions import Predictions, read_predictions
from vclip_cli.results.record import Record, read_record

TOLERANCE = 0.1
"""Points by which a metric may move on other hardware, or with videos batched otherwise."""


@dataclass(frozen=True)
class Verified:
    """What was found of one record; remarks: what is other without being wrong."""

    path: Path
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]
    again: Rerun | None = None

    @property
    def differing(self) -> list[Check]:
        """The checks that did not match."""
        return [check for check in self.checks if check.status == DIFFERS]

    @property
    def unchecked(self) -> list[Check]:
        """What could not be looked at."""
        return [check for check in self.checks if check.status == UNCHECKED]

    @property
    def matches(self) -> bool:
        """Whether nothing that could be looked at differs."""
        return not self.differing and (self.again is None or self.again.matches)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "record": str(self.path),
            "matches": self.matches,
            "checks": [check.as_dict() for check in self.checks],
            "remarks": list(self.remarks),
            "rerun": self.again.as_dict() if self.again else None,
        }


def verify_record(
    path: Path,
    asked: Request,
    seen: Seen | None = None,
    *,
    again: bool = False,
    tolerance: float = TOLERANCE,
    progress: Progress = no_progress,
) -> Verified:
    """Check everything that a record names.

    asked: the checkpoint (None to search near the record), where the backbone's weights lie now,
    device and workers; seen: the hashes of a command that looks at many records; again: evaluate
    again and allow metrics to move by `tolerance` points. What is missing here (a dataset, weights)
    counts as not checked; a missing predictions file differs. Raises RecordError for a damaged
    record, and what evaluation raises.
    """
    seen = seen if seen is not None else Seen()
    record = read_record(path)
    checks, predictions = check_predictions(path, record, seen)
    of_protocol, protocol = check_protocol(record)
    of_checkpoint, checkpoint = check_checkpoint(record, path, asked.model.checkpoint, seen)
    checks += of_protocol
    checks += check_dataset(record, protocol, predictions)
    checks.append(check_backbone(record, seen, asked.model.pretrained))
    checks += of_checkpoint
    repeated = None
    if again:
        named = str(record.config.get("protocol") or record.protocol.name)
        repeated = rerun(
            record,
            predictions,
            asked,
            protocol=named if Path(named).is_file() else record.protocol.name,
            checkpoint=checkpoint,
            tolerance=tolerance,
            progress=progress,
        )
    here = package_facts()
    remarks = []
    if record.package.model_dump() != here:
        stated = record.package
        remarks.append(
            f"computed by vclip {stated.version}, commit {(stated.commit or 'unknown')[:12]};"
            f" this is {here['version']}, commit {(here['commit'] or 'unknown')[:12]}"
        )
    return Verified(path, tuple(checks), tuple(remarks), repeated)


@dataclass(frozen=True)
class Moved:
    """A metric of the record and of the new run, in its unit."""

    metric: str
    record: float
    again: float

    @property
    def by(self) -> float:
        """How far it moved."""
        return self.again - self.record


@dataclass(frozen=True)
class Rerun:
    """identical: the predictions are equal to the byte. moved: the metrics that are not equal.

    largest_score_difference: over all videos and classes; changed_decisions: videos whose best
    class is another; both None where the old predictions are missing. scored: videos then and now.
    """

    identical: bool
    moved: tuple[Moved, ...]
    largest_score_difference: float | None
    changed_decisions: int | None
    scored: tuple[int, int]
    tolerance: float

    @property
    def matches(self) -> bool:
        """Whether as many videos were scored and every metric stayed within the tolerance."""
        same = self.scored[0] == self.scored[1]
        return same and all(abs(entry.by) <= self.tolerance for entry in self.moved)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        moved = [{**asdict(entry), "by": entry.by} for entry in self.moved]
        return {**asdict(self), "moved": moved, "matches": self.matches}


def rerun(
    record: Record,
    predictions: Predictions | None,
    asked: Request,
    *,
    protocol: str,
    checkpoint: Path | None = None,
    tolerance: float = TOLERANCE,
    progress: Progress = no_progress,
) -> Rerun:
    """Evaluate into a temporary folder with the record's own settings, and compare.

    predictions: the record's own, None where they are missing; asked: device, workers and where the
    backbone's weights lie now; protocol: by name or file. Raises DataError when the record needs a
    checkpoint and none is known, and what evaluation raises.
    """
    if record.adapter.checkpoint_sha256 is not None and checkpoint is None:
        raise DataError(
            "the checkpoint of the record was not found",
            expected=f"sha256 {record.adapter.checkpoint_sha256[:12]}…",
            hint="name it with --checkpoint FILE",
        )
    with tempfile.TemporaryDirectory(prefix="vclip-verify-") as folder:
        request = _request(record, asked, protocol, checkpoint)
        plan = plan_evaluation(request.change(run={"out": Path(folder) / "run"}))
        [again] = evaluate_plan(plan, progress=progress)
        assert again.record.predictions is not None  # evaluation always writes them
        found = read_predictions(again.path.parent / again.record.predictions.file)
    return _compare(record, again.record, predictions, found, tolerance)


def _request(record: Record, asked: Request, protocol: str, checkpoint: Path | None) -> Request:
    """The request that a record was made by, with what a record states elsewhere put in place."""
    adapter, video, prompts = record.adapter, record.video, record.prompts
    trained = adapter.checkpoint_sha256 is not None
    return recorded_request("eval", record.config).change(
        data={
            "protocol": protocol,
            "dataset": record.dataset.name,
            "split": tuple(splits_of(record)),
            "allow_overlap": record.overlap_allowed,
        },
        model={
            "method": adapter.name,
            "backbone": record.backbone.name,
            "pretrained": asked.model.pretrained or record.backbone.pretrained,
            "checkpoint": checkpoint if trained else None,
            "options": {} if trained else adapter.config,
        },
        input={
            "frames": video.frames,
            "clips": video.views.clips,
            "crops": video.views.crops,
            "decoder": str(video.decoder["name"]),
            "frames_from": SOURCE if video.store is None else STORE,
        },
        text={"template": tuple(prompts.templates), "text": prompts.text_variant},
        compute={"device": asked.compute.device, "precision": record.compute.precision},
        run={"cache": False},
    )


def _compare(
    record: Record,
    again: Record,
    old: Predictions | None,
    new: Predictions,
    tolerance: float,
) -> Rerun:
    moved = tuple(
        Moved(name, metric.value, again.metrics[name].value)
        for name, metric in record.metrics.items()
        if name in again.metrics and again.metrics[name].value != metric.value
    )
    stated = record.predictions.sha256 if record.predictions else None
    assert again.predictions is not None
    largest = changed = None
    if old is not None and set(old.classes) == set(new.classes):
        rows = {video: row for row, video in enumerate(new.videos)}
        shared = [row for row, video in enumerate(old.videos) if video in rows]
        columns = [new.classes.index(name) for name in old.classes]
        before = old.scores[shared]
        after = new.scores[[rows[old.videos[row]] for row in shared]][:, columns]
        largest = float(np.abs(before - after).max()) if shared else None
        changed = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
    return Rerun(
        identical=stated == again.predictions.sha256,
        moved=moved,
        largest_score_difference=largest,
        changed_decisions=changed,
        scored=(record.counts.scored, again.counts.scored),
        tolerance=tolerance,
    )
