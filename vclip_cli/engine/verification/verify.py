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
from vclip_cli.engine.verification.checks import (
    DIFFERS,
    UNCHECKED,
    Check,
    Seen,
    Subject,
    check_predictions,
)
from vclip_cli.engine.verification.sources import (
    check_backbone,
    check_checkpoint,
    check_dataset,
    check_protocol,
    protocol_of,
    splits_of,
)
from vclip_cli.results.predictions import Predictions, read_predictions
from vclip_cli.results.record import Record, read_record

TOLERANCE = 0.1
"""Points by which a metric may move on other hardware, or with videos batched otherwise."""


@dataclass(frozen=True)
class Verified:
    """What was found of one record; remarks: differences that are no error."""

    path: Path
    checks: tuple[Check, ...]
    remarks: tuple[str, ...]
    again: Rerun | None = None

    @property
    def unchecked(self) -> list[Check]:
        """What could not be looked at."""
        return [check for check in self.checks if check.status == UNCHECKED]

    @property
    def matches(self) -> bool:
        """Whether nothing that could be looked at differs."""
        differing = any(check.status == DIFFERS for check in self.checks)
        return not differing and (self.again is None or self.again.matches)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            "record": str(self.path),
            "matches": self.matches,
            "checks": [asdict(check) for check in self.checks],
            "remarks": list(self.remarks),
            "rerun": self.again.as_dict() if self.again else None,
        }


def verify_record(
    path: Path,
    asked: Request,
    seen: Seen,
    *,
    again: bool = False,
    tolerance: float = TOLERANCE,
    progress: Progress = no_progress,
) -> Verified:
    """Check everything that a record names.

    asked: the checkpoint (None to search near the record), the present place of the backbone's
    weights, device and workers; seen: hashes shared by the records of one command; again: evaluate
    again; metrics may move by `tolerance` points. A missing dataset or weights file counts as not
    checked; a missing predictions file counts as different. Raises RecordError for a damaged
    record, and what evaluation raises.
    """
    record = read_record(path)
    subject = Subject(path, record, seen)
    predictions = check_predictions(subject)
    check_dataset(subject, check_protocol(subject), predictions)
    check_backbone(subject, asked.model.pretrained)
    checkpoint = check_checkpoint(subject, asked.model.checkpoint)
    repeated = None
    if again:
        request = _request(record, asked, checkpoint)
        repeated = _rerun(record, predictions, request, tolerance, progress)
    stated, here = record.package, package_facts()
    remarks = []
    if stated.model_dump() != here:
        remarks.append(
            f"computed by vclip {stated.version}, commit {(stated.commit or 'unknown')[:12]};"
            f" this is {here['version']}, commit {(here['commit'] or 'unknown')[:12]}"
        )
    return Verified(path, tuple(subject.checks), tuple(remarks), repeated)


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


def _rerun(
    record: Record,
    old: Predictions | None,
    request: Request,
    tolerance: float,
    progress: Progress,
) -> Rerun:
    """Evaluate into a temporary folder, and compare.

    old: the record's own predictions, None where they are missing. Raises DataError when the record
    needs a checkpoint and none is known, and what evaluation raises.
    """
    if record.adapter.checkpoint_sha256 is not None and request.model.checkpoint is None:
        raise DataError(
            "the checkpoint of the record was not found",
            expected=f"sha256 {record.adapter.checkpoint_sha256[:12]}…",
            hint="name it with --checkpoint FILE",
        )
    with tempfile.TemporaryDirectory(prefix="vclip-verify-") as folder:
        plan = plan_evaluation(request.change(run={"out": Path(folder) / "run"}))
        [result] = evaluate_plan(plan, progress=progress)
        again = result.record
        assert again.predictions is not None  # evaluation always writes them
        new = read_predictions(result.path.parent / again.predictions.file)
    moved = tuple(
        Moved(name, metric.value, again.metrics[name].value)
        for name, metric in record.metrics.items()
        if name in again.metrics and again.metrics[name].value != metric.value
    )
    largest = changed = None
    if old is not None and set(old.classes) == set(new.classes):
        rows = {video: row for row, video in enumerate(new.videos)}
        shared = [row for row, video in enumerate(old.videos) if video in rows]
        columns = [new.classes.index(name) for name in old.classes]
        before = old.scores[shared]
        after = new.scores[[rows[old.videos[row]] for row in shared]][:, columns]
        largest = float(np.abs(before - after).max()) if shared else None
        changed = int((before.argmax(axis=1) != after.argmax(axis=1)).sum())
    stated = record.predictions.sha256 if record.predictions else None
    return Rerun(
        identical=stated == again.predictions.sha256,
        moved=moved,
        largest_score_difference=largest,
        changed_decisions=changed,
        scored=(record.counts.scored, again.counts.scored),
        tolerance=tolerance,
    )


def _request(record: Record, asked: Request, checkpoint: Path | None) -> Request:
    """The request that made a record, with the facts that the record holds outside its config.

    asked: device, workers and where the backbone's weights lie now.
    """
    adapter, video, prompts = record.adapter, record.video, record.prompts
    workers = asked.workers.workers
    trained = adapter.checkpoint_sha256 is not None
    return recorded_request("eval", record.config).change(
        data={
            "protocol": protocol_of(record),
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
        workers={} if workers is None else {"workers": workers},
        run={"cache": False},
    )
