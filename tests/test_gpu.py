"""What a GPU must reach: `pytest -m gpu -n 0 -s`, which also prints what was measured.

The same functions run on the CPU with the tiny model, so that they work where there is no GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from gpu_checks import (
    KINETICS_SIZE,
    STEPS,
    clips_with_a_store,
    describe,
    measure_evaluation,
    measure_steps,
    rate,
)
from this_process import ThisProcess

from vclip_cli.bench import training
from vclip_cli.engine.training.step import Trainer

METHODS = ("vifi-clip", "vl-prompt", "vita-clip", "x-clip", "ov-multilabel")
FRAMES = 8
HAS_GPU = torch.cuda.is_available()


def on_gpu(test: Any) -> Any:
    """Asked for with `-m gpu`, and skipped where there is none."""
    return pytest.mark.gpu(pytest.mark.skipif(not HAS_GPU, reason="no GPU here")(test))


@on_gpu
def test_evaluation_from_the_store_keeps_the_gpu_busy(vclip: Callable) -> None:
    clips_with_a_store(vclip, (8, 16), count=64, length=250, size=KINETICS_SIZE)
    workers = max(1, (os.cpu_count() or 2) - 2)
    settings = {
        "method": "clip", "backbone": "ViT-B-16", "device": "cuda", "precision": "bf16",
        "batch_size": 64, "workers": workers, "limit": 64,
    }  # fmt: skip
    shortfalls = []
    for frames in (8, 16):
        measured = measure_evaluation(frames, rounds=5, **settings)
        print(f"\nT={frames}, {describe(measured)}")
        encoder, product = measured.part("encoder"), measured.part("matrix product")
        whole = measured.part("end to end, store")
        if rate(whole) < 0.9 * rate(encoder):
            shortfalls.append(f"T={frames}: {rate(whole):.1f} of {rate(encoder):.1f} videos/s")
        assert encoder.gigaflops is not None and product.gigaflops is not None
        if encoder.gigaflops < 0.45 * product.gigaflops:
            shortfalls.append(
                f"T={frames}: {encoder.gigaflops:,.0f} of {product.gigaflops:,.0f} GFLOP/s"
            )
    assert not shortfalls


@on_gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_training_step_gains_by_each_of_the_ways(method: str) -> None:
    settings = {"backbone": "ViT-B-16", "frames": FRAMES, "device": "cuda", "batch_size": 8}
    steps = measure_steps(method, list(STEPS), rounds=10, **settings)
    for way, step in steps.items():
        print(f"\n{method}, {way}: {step.seconds:.3f} s, {step.peak_mb:,.0f} MB", end="")
    assert steps["autocast"].seconds < steps["fp32"].seconds
    assert steps["compiled"].seconds < 1.05 * steps["autocast"].seconds
    peaks = {way: step.peak_mb or 0.0 for way, step in steps.items()}
    assert peaks["autocast"] < peaks["fp32"]
    assert peaks["checkpointed"] < peaks["autocast"]


@on_gpu
@pytest.mark.parametrize("method", METHODS[:4])
def test_no_step_waits_for_the_gpu(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    update = Trainer.update
    seen = []

    def watched(*arguments: Any) -> Any:
        seen.append(method)
        torch.cuda.set_sync_debug_mode("error" if len(seen) > 1 else "default")
        try:
            return update(*arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Trainer, "update", watched)
    ran = vclip(
        "train", "-d", "toy", "-p", "few-shot", "--shots", 2, "-m", method, "--pretrained",
        "random", "--limit", 10, "--set", "batch_size=5", "--set", "steps=6", "--set",
        "bridge=null", "--device", "cuda", "--precision", "bf16", "--out", "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert len(seen) == 6


def test_the_checks_of_evaluation_run_on_a_cpu(vclip: Callable) -> None:
    clips_with_a_store(vclip, (2,), count=2, length=8, size=(96, 64))
    settings = {"method": "clip", "backbone": "toy", "device": "cpu", "batch_size": 2, "limit": 2}
    measured = measure_evaluation(2, rounds=1, workers=0, **settings)
    for name in ("encoder", "matrix product", "end to end", "end to end, store"):
        assert rate(measured.part(name)) > 0
    assert "limit: " in describe(measured)
    share = measured.part("encoder").gigaflops
    assert share is not None and share > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_checks_of_training_run_on_a_cpu(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setattr(training, "ProcessPoolExecutor", lambda *a, **k: ThisProcess())
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda call: compiled.append(call) or call)
    ways = list(STEPS) if method == "vita-clip" else ["compiled"]
    settings = {"backbone": "toy", "frames": FRAMES, "device": "cpu", "batch_size": 1}
    steps = measure_steps(method, ways, rounds=1, **settings)
    assert list(steps) == ways and len(compiled) == 1
    assert all(step.seconds > 0 and step.method == method for step in steps.values())
