"""`vclip verify`: every hash of a record against its files, and the evaluation done again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.environment import package_facts
from vclip_cli.engine.verification.checks import DIFFERS, UNCHECKED, Check
from vclip_cli.engine.verification.predictions import check_predictions
from vclip_cli.engine.verification.rerun import TOLERANCE, Rerun, rerun
from vclip_cli.engine.verification.seen import Seen
from vclip_cli.engine.verification.sources import (
    check_backbone,
    check_checkpoint,
    check_dataset,
    check_protocol,
)
from vclip_cli.results.record import read_record


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
