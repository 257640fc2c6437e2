"""SIGTERM, as a scheduler sends it, and Ctrl-C: training stops after a whole step and continues."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vclip_cli.common import long_work
from vclip_cli.models.registry import find_method
from vclip_cli.models.tensors import read_tensor_file

TRAIN = (
    "train", "-p", "few-shot", "-d", "toy", "-m", "x-clip", "--seed", "1", "--shots", "2",
    "--pretrained", "random", "--limit", "16", "--set", "steps=6", "--set", "batch_size=2",
    "--set", "learning_rate=2e-3", "--batch-size", "2", "--save-every", "1000",
)  # fmt: skip


@pytest.fixture(autouse=True)
def default_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A shell's background jobs ignore Ctrl-C, and their children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(long_work, "_seen", long_work._Seen())
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_keeps_its_last_step(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    method = find_method("x-clip")
    encode, calls = method.encode_video, []

    def stopped_in_the_third(adapter: Any, frames: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), number)
        return encode(adapter, frames)

    with monkeypatch.context() as patch:
        patch.setattr(method, "encode_video", stopped_in_the_third)
        stopped = vclip(*TRAIN, "--out", "run")
    assert stopped.code == code
    assert "continues from here" in stopped.err
    assert len(calls) == 3
    assert read_tensor_file(Path("run/resume.pt"))["step"] == 3
    assert vclip(*TRAIN, "--out", "run").code == 0
    assert vclip(*TRAIN, "--out", "whole").code == 0
    name = "checkpoint.safetensors"
    assert Path("whole", name).read_bytes() == Path("run", name).read_bytes()
