"""How fast evaluation and training are, by `vclip bench`'s own functions: for any device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from make_clips import write_clip

from vclip_cli.bench.run import Measured, bench
from vclip_cli.bench.timing import Part
from vclip_cli.bench.training import MeasuredStep, bench_training
from vclip_cli.engine.requests import Request

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


def measure_evaluation(frames: int, rounds: int, **settings: Any) -> Measured:
    """Every part of an evaluation of `mine` from `store/`, with this many frames."""
    request = Request.of("bench", {**settings, "frames": frames})
    return bench(["mine"], request, store=Path("store"), rounds=rounds)


def rate(part: Part) -> float:
    """Videos per second."""
    seconds = part.seconds_per_video
    assert seconds is not None, part.remark
    return 1 / seconds


def describe(measured: Measured) -> str:
    """The rates and the slowest stage."""
    rates = [f"{p.name} {rate(p):,.1f}" for p in measured.parts if p.seconds_per_video]
    limit = measured.limits(store=True)
    return f"{measured.facts['device']}, videos/s: " + ", ".join(rates) + f"; limit: {limit}"


STEPS: dict[str, dict[str, Any]] = {
    "fp32": {"precision": "fp32"},
    "autocast": {"precision": "bf16"},
    "compiled": {"precision": "bf16", "compile": True},
    "checkpointed": {"precision": "bf16", "gradient_checkpointing": True},
}
"""The ways in which a training step is measured."""


def measure_steps(
    method: str, ways: Sequence[str], rounds: int, **settings: Any
) -> dict[str, MeasuredStep]:
    """A training step of one method in each of the ways."""
    found = {}
    for way in ways:
        request = Request.of("bench", {**settings, **STEPS[way]})
        [found[way]] = bench_training([method], request, rounds=rounds)
    return found
