"""The state from which an interrupted training run continues; it is not the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.files import whole_file
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import read_tensor_file, write_tensor_file

STATE_FILE = "resume.pt"


@dataclass
class ResumeState:
    """Everything after `step` whole updates.

    It holds no state of random generators: every draw is seeded by what it is for (the epoch and
    the video, or the step), so the step is enough. losses: rows of (step, loss, rate); best: the
    best epoch so far, where epochs are selected; probability: slope and bias of the sigmoid in a
    multi-label loss.
    """

    run_sha256: str
    step: int
    tensors: dict[str, Tensor]
    optimizer: dict[str, Any]
    scaler: dict[str, Any] = field(default_factory=dict)
    losses: list[list[float]] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    probability: dict[str, float] = field(default_factory=dict)

    def capture(self, adapter: Adapter, optimizer: Any, accelerator: Accelerator) -> None:
        """Copy what trains, the optimizer and the scaler of gradients into the state."""
        self.tensors = trained_tensors(adapter)
        self.optimizer = optimizer.state_dict()
        if accelerator.scaler is not None:
            self.scaler = accelerator.scaler.state_dict()

    def restore(self, adapter: Adapter, optimizer: Any, accelerator: Accelerator) -> None:
        """Copy the state back; before the first step there is nothing to copy."""
        if self.step == 0:
            return
        with torch.no_grad():
            for name, entry in adapter.trainable().items():
                entry.parameter.copy_(self.tensors[name])
        optimizer.load_state_dict(self.optimizer)
        if accelerator.scaler is not None and self.scaler:
            accelerator.scaler.load_state_dict(self.scaler)


def trained_tensors(adapter: Adapter) -> dict[str, Tensor]:
    """A copy of what trains, on the CPU."""
    return {
        name: entry.parameter.detach().cpu().clone() for name, entry in adapter.trainable().items()
    }


def write_state(folder: Path, state: ResumeState) -> None:
    """Write the state, whole or not at all. Raises StorageError."""
    with whole_file(folder / STATE_FILE) as temporary:
        write_tensor_file(vars(state), temporary)


def read_state(folder: Path, run_sha256: str) -> ResumeState | None:
    """The state of an interrupted run with exactly these settings; None when there is none.

    Raises WeightsError when the file is damaged or belongs to other settings.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    content = read_tensor_file(path)
    try:
        state = ResumeState(**content)
        whole = isinstance(state.step, int) and isinstance(state.losses, list)
        whole &= all(
            isinstance(part, dict) for part in (state.tensors, state.optimizer, state.best)
        )
    except TypeError:
        whole = False
    if not whole:
        raise WeightsError(
            "the file is not a resume state",
            where=str(path),
            hint="delete it, or start again with --no-resume",
        )
    if state.run_sha256 != run_sha256:
        raise WeightsError(
            "the resume state belongs to a run with other settings",
            where=str(path),
            hint="choose another --out, or start again with --no-resume",
        )
    return state
