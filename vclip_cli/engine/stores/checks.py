"""Reading every byte of a frame store: what is whole, and what is not. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.loading.workers import Lost, guarded_calls
from vclip_cli.engine.specs import UNPROTECTED, WorkerSpec
from vclip_cli.video.frame_store import FrameStore

_LEAST_A_TASK, _MOST_A_TASK = 16, 256


@dataclass
class Checked:
    """What a check of a store found.

    clips: how many were read; damaged: number of the row to what is wrong with its clip;
    dropped_rows: damaged rows of the index, left out; freed: bytes of clips that were extracted
    again, given back.
    """

    clips: int
    damaged: dict[int, str] = field(default_factory=dict)
    dropped_rows: int = 0
    freed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        reasons = sorted(set(self.damaged.values()))
        return {
            "clips": self.clips,
            "damaged": len(self.damaged),
            "reasons": reasons,
            "dropped_rows": self.dropped_rows,
            "freed": self.freed,
        }


def check_store(
    store: FrameStore, *, guard: WorkerSpec = UNPROTECTED, progress: Progress = no_progress
) -> Checked:
    """Compare every clip with its checksums and decode its frames. Raises DataError."""
    rows = store.index.latest()
    workers = guard.most_workers
    size = max(_LEAST_A_TASK, min(_MOST_A_TASK, len(rows) // (4 * max(workers, 1))))
    tasks = [rows[start : start + size] for start in range(0, len(rows), size)]
    checked = Checked(len(rows))
    with progress("checking", len(rows)) as advance:
        calls = guarded_calls(
            _check_rows, store, tasks, WorkerSpec(workers, None, guard.limit_memory)
        )
        for found, task in zip(calls, tasks, strict=True):
            lost = isinstance(found, Lost)
            checked.damaged |= dict.fromkeys(task, found.reason) if lost else found
            advance(len(task))
    store.close()
    return checked


def _check_rows(store: FrameStore, rows: Sequence[int]) -> dict[int, str]:
    problems = ((row, store.check(row)) for row in rows)
    return {row: problem for row, problem in problems if problem is not None}
