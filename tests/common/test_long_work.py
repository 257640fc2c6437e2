"""SIGTERM, as a scheduler sends it, and Ctrl-C, put off until a step of training is whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vclip_cli.common import long_work
from vclip_cli.common.long_work import delay_interruption
from vclip_cli.engine.training import loop
from vclip_cli.models.tensors import read_tensor_file

TRAIN = (
    "train", "-p", "few-shot", "-d", "toy", "-m", "x-clip", "--seed", "1", "--shots", "2",
    "--pretrained", "random", "--limit", "16", "--set", "steps=6", "--set", "batch_size=2",
    "--set", "learning_rate=2e-3", "--batch-size", "2", "--save-every", "1000",
)  # fmt: skip


@pytest.fixture(autouse=True)
def heeding_ctrl_c() -> Iterator[None]:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_keeps_its_last_step(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr(long_work, "_seen", long_work._Seen())
    step, done = loop._update, []

    def stopped_in_the_third(*arguments: object) -> float:
        done.append(1)
        if len(done) == 3:
            os.kill(os.getpid(), number)
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_update", stopped_in_the_third)
        stopped = vclip(*TRAIN, "--out", "run")
    assert stopped.code == code
    assert "goes on from here" in stopped.err
    assert read_tensor_file(Path("run/resume.pt"))["step"] == 3
    assert vclip(*TRAIN, "--out", "run").code == 0
    assert vclip(*TRAIN, "--out", "whole").code == 0
    name = "checkpoint.safetensors"
    assert Path("whole", name).read_bytes() == Path("run", name).read_bytes()


def test_the_first_interruption_waits_and_the_second_does_not() -> None:
    with pytest.raises(KeyboardInterrupt), delay_interruption() as pending:
        os.kill(os.getpid(), signal.SIGINT)
        assert pending.requested
    with pytest.raises(KeyboardInterrupt), delay_interruption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second Ctrl-C was put off as well")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
