"""Loss and rate in TensorBoard: written where it is installed, and without effect on training."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = (
    "train", "-p", "few-shot", "-d", "toy", "--shots", 2, "--seed", 1, "-m", "vifi-clip",
    "--limit", 8, "--set", "epochs=2", "--set", "batch_size=4", "--save-every", 1,
)  # fmt: skip


def _scalars(folder: str) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(Path(folder, "tensorboard")))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def _losses(folder: str) -> list[list[float]]:
    rows = Path(folder, "loss.csv").read_text().splitlines()[1:]
    return [[float(value) for value in row.split(",")] for row in rows]


def test_loss_and_rate_of_every_step(vclip: Callable) -> None:
    pytest.importorskip("tensorboard")
    assert vclip(*RUN, "--out", "run").code == 0
    found, rows = _scalars("run"), _losses("run")
    assert [step for step, _ in found["loss"]] == [row[0] for row in rows] == [1, 2, 3, 4]
    assert [v for _, v in found["loss"]] == pytest.approx([row[1] for row in rows])
    assert [v for _, v in found["learning_rate"]] == pytest.approx([row[2] for row in rows])
    own = Path("run/tensorboard/notes.txt")
    own.write_text("mine")
    assert vclip(*RUN, "--out", "run", "--no-resume").code == 0
    assert own.read_text() == "mine"
    assert len(list(own.parent.iterdir())) == 2


def test_a_resumed_run_continues_and_hides_what_a_killed_one_wrote_beyond(vclip: Callable) -> None:
    pytest.importorskip("tensorboard")
    assert vclip(*RUN, "--out", "run", "--stop-after", 1).code == 0
    state = Path("run/resume.pt").read_bytes()
    assert vclip(*RUN, "--out", "run", "--stop-after", 3).code == 0
    Path("run/resume.pt").write_bytes(state)
    assert vclip(*RUN, "--out", "run").code == 0
    found = _scalars("run")["loss"]
    assert [step for step, _ in found] == [1, 2, 3, 4]
    assert [value for _, value in found] == pytest.approx([row[1] for row in _losses("run")])


@pytest.mark.parametrize("missing", ["tensorboard", "torch.utils.tensorboard"])
def test_training_is_the_same_without_it(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    assert vclip(*RUN, "--out", "with").code == 0
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("torch.utils.tensorboard", raising=False)
    for name in (missing, "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)
    without = vclip(*RUN, "--out", "without")
    assert without.code == 0 and "tracker" not in without.err
    assert not Path("without/tensorboard").exists()
    weights = [Path(name, "checkpoint.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
