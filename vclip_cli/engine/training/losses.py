"""The losses of a run, fetched from the device now and then: to fetch one is to wait for it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from vclip_cli.common.errors import VclipError
from vclip_cli.engine.training.resume import ResumeState

STEPS_BETWEEN_LOOKS = 20


class WaitingLosses:
    """Losses that are still on the device, and what happens once they are fetched."""

    def __init__(
        self, state: ResumeState, after_step: Callable[[int, float, float], None] | None
    ) -> None:
        self.state = state
        self.after_step = after_step
        self.losses: list[Tensor] = []
        self.rates: list[float] = []

    def add(self, loss: Tensor, rate: float) -> None:
        """The loss () of the step that was just made, and its rate."""
        self.losses.append(loss)
        self.rates.append(rate)

    def fetch(self) -> None:
        """Wait for the device and write all down. Raises VclipError for one that is no number."""
        if not self.losses:
            return
        first = self.state.step - len(self.losses) + 1
        for step, loss, rate in zip(
            range(first, self.state.step + 1),
            torch.stack(self.losses).tolist(),
            self.rates,
            strict=True,
        ):
            if not np.isfinite(loss):
                raise VclipError(
                    f"the loss is {loss} at step {step}",
                    hint="a lower rate (--set learning_rate=…) or --precision fp32",
                )
            self.state.losses.append([step, loss, rate])
            if self.after_step is not None:
                self.after_step(step, loss, rate)
        self.losses, self.rates = [], []
