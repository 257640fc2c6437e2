"""Loss and rate for TensorBoard, where that is installed; `loss.csv` is written in any case."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from vclip_cli.engine.training.resume import ResumeState

SCALARS_FOLDER = "tensorboard"


@contextlib.contextmanager
def tensorboard_scalars(
    folder: Path, state: ResumeState
) -> Iterator[Callable[[int, float, float], None] | None]:
    """What to call with the step, the loss and the rate; None without TensorBoard.

    A run that goes on from `state` writes its steps again from there; what a killed run had written
    beyond is hidden.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        yield None
        return
    with SummaryWriter(str(folder / SCALARS_FOLDER), purge_step=state.step + 1) as writer:

        def write(step: int, loss: float, rate: float) -> None:
            writer.add_scalar("loss", loss, step)
            writer.add_scalar("learning_rate", rate, step)

        yield write


def remove_scalars(folder: Path) -> None:
    """Delete what an earlier run wrote, and nothing that is not TensorBoard's."""
    for path in (folder / SCALARS_FOLDER).glob("events.out.tfevents.*"):
        path.unlink(missing_ok=True)
