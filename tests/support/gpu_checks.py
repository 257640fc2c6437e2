"""How fast evaluation and training are, by `vclip bench`'s own functions: for any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from make_clips import write_clip

from vclip_cli.bench.run import BenchRequest, Measured, bench
from vclip_cli.bench.timing import Part
from vclip_cli.bench.training import MeasuredStep, StepRequest, bench_training
from vclip_cli.engine.specs import ModelSpec

KINETICS_SIZE = (340, 256)


def clips_with_a_store(
    vclip: Callable, frames: Sequence[int], count: int, length: int, size: tuple[int, int]
) -> None:
    """Clips of noise-free pictures, registered as `mine`, and their frames in `store/`."""
    for number in range(count):
        path = Path("mine", f"class {number % 4}", f"{number}.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, range(number, number + length), size=size)
    assert vclip("data", "add", "mine", "--videos", "mine").code == 0
    counts = ",".join(map(str, frames))
    ran = vclip("extract", "mine", "--frames", counts, "--out", "store")
    assert ran.code == 0, ran.err


def measure_evaluation(frames: int, request: BenchRequest) -> Measured:
    """Every part of an evaluation of `mine` from `store/`, with this many frames."""
    return bench(replace(request, sources=("mine",), store=Path("store"), frames=frames))


def rate(part: Part) -> float:
    """Videos a second."""
    seconds = part.seconds_a_video
    assert seconds is not None, part.remark
    return 1 / seconds


def describe(measured: Measured) -> str:
    """What a person wants to see of it."""
    rates = [f"{p.name} {rate(p):,.1f}" for p in measured.parts if p.seconds_a_video]
    limit = measured.limits(store=True)
    return f"{measured.facts['device']}, videos/s: " + ", ".join(rates) + f"; limit: {limit}"


STEPS = {
    "fp32": {"precision": "fp32"},
    "autocast": {"precision": "bf16"},
    "compiled": {"precision": "bf16", "compiled": True},
    "checkpointed": {"precision": "bf16", "gradient_checkpointing": True},
}
"""The ways in which a training step is measured."""


def measure_steps(
    method: ModelSpec, ways: Sequence[str], like: StepRequest
) -> dict[str, MeasuredStep]:
    """A training step of one method in each of the ways."""
    requests = [replace(like, method=method, **STEPS[way]) for way in ways]  # type: ignore[arg-type]
    return dict(zip(ways, bench_training(requests), strict=True))
