"""TensorBoard's scalars: written where it is installed, nothing else changed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from vclip_cli.engine.training.resume import ResumeState
from vclip_cli.engine.training.scalars import SCALARS_FOLDER, tensorboard_scalars

RUN = (
    "train", "-p", "few-shot", "-d", "toy", "--shots", 2, "--seed", 1, "-m", "vifi-clip",
    "--limit", 8, "--set", "epochs=2", "--set", "batch_size=4", "--save-every", 1,
)  # fmt: skip


def _scalars(folder: str) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(Path(folder) / SCALARS_FOLDER))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_loss_and_rate_of_every_step(vclip: Callable) -> None:
    pytest.importorskip("tensorboard")
    assert vclip(*RUN, "--out", "run").code == 0
    found = _scalars("run")
    rows = [line.split(",") for line in Path("run/loss.csv").read_text().splitlines()[1:]]
    assert [step for step, _ in found["loss"]] == [int(row[0]) for row in rows] == [1, 2, 3, 4]
    assert [v for _, v in found["loss"]] == pytest.approx([float(row[1]) for row in rows])
    assert [v for _, v in found["learning_rate"]] == pytest.approx([float(row[2]) for row in rows])
    assert vclip(*RUN, "--out", "run", "--no-resume").code == 0
    assert len(list(Path("run", SCALARS_FOLDER).iterdir())) == 1


def test_a_resumed_run_hides_what_was_written_beyond_its_step(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    for start, steps in ((0, (1, 2, 3)), (1, (2, 3))):
        with tensorboard_scalars(tmp_path, ResumeState("", start, {}, {})) as write:
            assert write is not None
            for step in steps:
                write(step, 10.0 * (start + 1) + step, 0.1)
    assert _scalars(str(tmp_path))["loss"] == [(1, 11.0), (2, 22.0), (3, 23.0)]


def test_nothing_happens_without_it(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vclip(*RUN, "--out", "with").code == 0
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert vclip(*RUN, "--out", "without").code == 0
    assert not Path("without", SCALARS_FOLDER).exists()
    weights = [Path(name, "checkpoint.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
