"""What a training step must not do: wait for its device; and what only makes it faster or leaner.

A CPU has no device to wait for, so the tests count what would wait for a GPU: a number read from a
tensor. Copies are made by `to_device`, which is watched to see what was sent.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_clip import BUILDS, FRAMES, PROMPTS, random_video, tiny_backbone
from torch.utils._python_dispatch import TorchDispatchMode

from vclip_cli.common.errors import VclipError
from vclip_cli.engine.training import loop
from vclip_cli.engine.training.compiling import compiled_video
from vclip_cli.engine.training.optimiser import fused_on
from vclip_cli.models.checkpoint import read_info

SMALL = (
    "--pretrained", "random", "--limit", 10, "--set", "batch_size=5", "--batch-size", 3,
    "--set", "learning_rate=1e-3", "--seed", 1,
)  # fmt: skip
MIXED = (
    "--set", "augmentation.mixup=0.8", "--set", "augmentation.cutmix=1.0",
    "--set", "label_smoothing=0.1",
)  # fmt: skip
RUNS = {
    "vifi-clip": ("-d", "toy", "-p", "few-shot", "--shots", 2, *MIXED),
    "vl-prompt": ("-d", "toy", "-p", "few-shot", "--shots", 2, "--set", "bridge=null"),
    "vita-clip": ("-d", "toy", "-p", "few-shot", "--shots", 2),
    "x-clip": ("-d", "toy", "-p", "few-shot", "--shots", 2),
    "ov-multilabel": ("-d", "toy-multi", "-p", "multi-label", "--set", "negatives=4"),
}


def _run(method: str, *more: object) -> tuple[object, ...]:
    return ("train", "-m", method, *RUNS[method], *SMALL, *more)


class _Reads(TorchDispatchMode):
    """Where the value of a tensor is asked for, but by the optimizer of its own step counters and
    of token ids that were never sent."""

    def __init__(self) -> None:
        super().__init__()
        self.where: list[str] = []
        self.sent: list[torch.Tensor] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal"):
            stack = traceback.extract_stack()
            cutting = any(frame.name == "without_padding" for frame in stack)
            counting = any("/torch/optim/" in frame.filename for frame in stack)
            ours = [frame for frame in stack if "vclip_cli" in frame.filename]
            if not (counting or cutting):
                self.where.append(f"{name}: {ours[-1].filename}:{ours[-1].lineno}")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Reads]:
    """Watches every `_update` of the training loop, and what goes to the device in it."""
    mode, update = _Reads(), loop._update

    def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        mode.sent.append(tensor.clone())  # kept, so that no other tensor takes its place
        return mode.sent[-1]

    def cut(tower: Any, ids: torch.Tensor) -> torch.Tensor:
        places = {sent.untyped_storage().data_ptr() for sent in mode.sent}
        assert ids.untyped_storage().data_ptr() not in places, "a length is read off the device"
        return shorten(tower, ids)

    from vclip_cli.models.towers import without_padding as shorten

    for name, module in list(sys.modules.items()):
        if name.startswith("vclip_cli."):
            for what, instead in (("to_device", send), ("without_padding", cut)):
                if hasattr(module, what):
                    monkeypatch.setattr(module, what, instead)

    def watched(*arguments: Any) -> Any:
        with mode:
            return update(*arguments)

    monkeypatch.setattr(loop, "_update", watched)
    yield mode


@pytest.mark.parametrize("method", RUNS)
def test_no_step_waits_for_the_device(vclip: Callable, reads: _Reads, method: str) -> None:
    ran = vclip(*_run(method, "--set", "steps=3", "--out", "run"))
    assert ran.code == 0, ran.err
    assert reads.sent, "nothing was watched"
    assert reads.where == []


def test_losses_are_fetched_now_and_then(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    fetch = loop.WaitingLosses.fetch

    def counted(waiting: loop.WaitingLosses) -> None:
        looks.append(len(waiting.losses))
        fetch(waiting)

    monkeypatch.setattr(loop.WaitingLosses, "fetch", counted)
    monkeypatch.setattr(loop, "STEPS_BETWEEN_LOOKS", 6)
    run = _run("vita-clip", "--set", "steps=15", "--set", "batch_size=1", "--save-every", 14)
    assert vclip(*run, "--out", "run").code == 0
    assert looks == [6, 4, 2, 2, 1]  # at step 6, the epoch's end, 12, the saved state, the end
    rows = Path("run/loss.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 16))


def test_a_loss_that_is_no_number_is_named_and_nothing_of_it_is_saved(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, update = itertools.count(1), loop._update

    def spoilt(*arguments: Any) -> Any:
        loss, stopping = update(*arguments)
        return (loss * float("nan") if next(steps) == 7 else loss), stopping

    monkeypatch.setattr(loop, "_update", spoilt)
    run = _run("vita-clip", "--set", "steps=12", "--set", "batch_size=1", "--save-every", 4)
    ran = vclip(*run, "--out", "run")
    assert ran.code == 1
    assert "the loss is nan at step 7" in ran.err
    assert not Path("run/checkpoint.safetensors").exists()
    state = torch.load("run/resume.pt", weights_only=True)
    assert state["step"] == 4 and len(state["losses"]) == 4


def test_how_it_was_computed_is_recorded_and_is_not_the_runs_identity(vclip: Callable) -> None:
    run = _run("vita-clip", "--set", "steps=2")
    assert vclip(*run, "--out", "plain").code == 0
    lean = vclip(*run, "--out", "lean", "--gradient-checkpointing")
    assert lean.code == 0, lean.err
    facts = [read_info(Path(out, "checkpoint.safetensors")).training for out in ("plain", "lean")]
    assert facts[0]["run_sha256"] == facts[1]["run_sha256"]
    assert [one["computed"]["gradient_checkpointing"] for one in facts] == [False, True]
    assert json.loads(Path("lean/run.json").read_text())["computed"] == facts[1]["computed"]
    plain, leaner = (load_file(f"{out}/checkpoint.safetensors") for out in ("plain", "lean"))
    for name in plain:
        np.testing.assert_allclose(leaner[name], plain[name], atol=1e-6, rtol=0)


def test_what_cannot_be_compiled_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Any) -> Any:
        def call(frames: torch.Tensor) -> None:
            raise torch._dynamo.exc.TorchDynamoException("no compiler\nat all")

        return call

    monkeypatch.setattr(torch, "compile", refuse)
    encode = compiled_video(BUILDS["vifi-clip"](tiny_backbone()))
    with pytest.raises(VclipError, match="cannot be compiled here") as caught:
        encode(random_video())
    assert caught.value.found == "no compiler"


def test_all_tensors_are_updated_by_one_kernel_on_a_gpu_alone() -> None:
    assert fused_on(torch.device("cuda", 1)) is True
    assert fused_on(torch.device("cpu")) is None


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", ["vifi-clip", "vl-prompt", "vita-clip", "x-clip"])
def test_what_is_compiled_has_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch, name: str, checkpointing: bool
) -> None:
    """Every graph is taken and differentiated; that kernels are made of it is another test."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    adapter = BUILDS[name](tiny_backbone()).train()
    adapter.freeze_all_but_trainable()
    adapter.gradient_checkpointing = checkpointing
    gradients = []
    for encode in (adapter.encode_video, compiled_video(adapter)):
        for batch in (3, 2):  # the last piece of an update is smaller
            adapter.zero_grad()
            video = encode(random_video(batch, FRAMES))
            adapter.score(video, adapter.encode_text(PROMPTS)).logsumexp(dim=1).sum().backward()
        entries = adapter.trainable().items()
        gradients.append({key: e.parameter.grad.clone() for key, e in entries})
    for key, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_compiled_training_gives_the_same_losses(vclip: Callable) -> None:
    losses = []
    for out, more in (("plain", ()), ("compiled", ("--compile",))):
        run = _run("vifi-clip", *more, "--set", "steps=3", "--batch-size", 5, "--set", "frames=2")
        ran = vclip(*run, "--out", out)
        assert ran.code == 0, ran.err
        rows = Path(out, "loss.csv").read_text().splitlines()[1:]
        losses.append([float(row.split(",")[1]) for row in rows])
        info = read_info(Path(out, "checkpoint.safetensors"))
        assert info.training["computed"]["compiled"] == bool(more)
    assert len(losses[0]) == 3
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
