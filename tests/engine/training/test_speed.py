"""A training step does not wait for its device; and what only makes it faster or leaner.

A CPU has no device to wait for. The tests therefore follow every tensor that a GPU would hold, and
count where the value of one is read: there the CPU would wait.
"""

from __future__ import annotations

import contextlib
import functools
import json
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
from torch.utils._pytree import tree_leaves

from vclip_cli.common.errors import VclipError
from vclip_cli.engine.training import loop
from vclip_cli.engine.training.optimiser import fused_on
from vclip_cli.engine.training.step import compiled_video
from vclip_cli.models.checkpoint import read_info
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method

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
    """Notes where the value of a tensor is read that a GPU would hold.

    Those are the parameters, what `.to(device)` gave, and everything computed from them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.sent = 0
        self.where: list[str] = []

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy that counts as being on the device."""
        self.sent += 1
        copy = tensor.clone()
        copy.on_device = True
        return copy

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        if any(map(_is_on_device, tree_leaves((args, kwargs)))):
            if function.overloadpacket.__name__ in READING:
                ours = [f for f in traceback.extract_stack() if "vclip_cli" in f.filename]
                self.where.append(f"{function}: {ours[-1].filename}:{ours[-1].lineno}")
            for made in tree_leaves(result):
                if isinstance(made, torch.Tensor):
                    made.on_device = True
        return result


def _is_on_device(value: Any) -> bool:
    return isinstance(value, torch.nn.Parameter) or getattr(value, "on_device", False)


READING = {"_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select", "unique_dim"}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Reads]:
    """Follows tensors from the moment where the model is made ready for training."""
    mode, move, freeze = _Reads(), torch.Tensor.to, Adapter.freeze_all_but_trainable

    def to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        moved = move(tensor, *args, **kwargs)
        sent = any(isinstance(value, torch.device) for value in (*args, *kwargs.values()))
        return mode.send(moved) if sent else moved

    with contextlib.ExitStack() as following:

        def start(adapter: Adapter) -> None:
            freeze(adapter)
            monkeypatch.setattr(torch.Tensor, "to", to)
            following.enter_context(mode)

        monkeypatch.setattr(Adapter, "freeze_all_but_trainable", start)
        yield mode


@pytest.mark.parametrize("method", RUNS)
def test_no_step_waits_for_the_device(vclip: Callable, reads: _Reads, method: str) -> None:
    ran = vclip(*_run(method, "--set", "steps=3", "--out", "run"))
    assert ran.code == 0, ran.err
    assert reads.sent > 10, "nothing was followed"
    before_the_first_step = [where for where in reads.where if "targets.py" in where]
    assert len(before_the_first_step) == (method == "ov-multilabel")  # the starting bias
    assert reads.where == before_the_first_step


def test_losses_are_fetched_now_and_then(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched, tolist = [], torch.Tensor.tolist

    def counted(tensor: torch.Tensor) -> Any:
        if tensor.ndim == 1 and tensor.is_floating_point():
            fetched.append(len(tensor))
        return tolist(tensor)

    monkeypatch.setattr(torch.Tensor, "tolist", counted)
    monkeypatch.setattr(loop, "STEPS_A_FETCH", 6)
    run = _run("vita-clip", "--set", "steps=15", "--set", "batch_size=1", "--save-every", 14)
    assert vclip(*run, "--out", "run").code == 0
    assert fetched == [6, 4, 2, 2, 1]  # at step 6, the epoch's end, 12, the saved state, the end
    rows = Path("run/loss.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == list(range(1, 16))


def test_a_loss_that_is_not_finite_is_named_and_nothing_of_it_is_saved(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = find_method("vita-clip")
    score, steps = method.score, []

    def spoilt(adapter: Any, video: Any, text: Any) -> torch.Tensor:
        steps.append(1)
        return score(adapter, video, text) * (float("nan") if len(steps) == 7 else 1)

    monkeypatch.setattr(method, "score", spoilt)
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
