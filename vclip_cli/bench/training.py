"""Time and memory of one training step of each method, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from vclip_cli.bench.stages import CLASSES, made_up_videos, with_weights
from vclip_cli.bench.timing import Seconds, timed
from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.encoder import autocast, device_name, known_precision, pick_device
from vclip_cli.engine.encoding.model import load_method
from vclip_cli.engine.encoding.settings import resolve_settings
from vclip_cli.engine.requests import Request
from vclip_cli.engine.specs import ComputeSpec
from vclip_cli.engine.training.optimiser import fused_on
from vclip_cli.engine.training.step import compiled_video
from vclip_cli.models.contract import Adapter

MEGABYTE = 2**20


@dataclass(frozen=True)
class MeasuredStep:
    """A training step of one method.

    resting_mb: memory with the model built; peak_mb: the most until the end of the last step; of
    the device or, on the CPU, of the whole process; None where the system does not tell.
    """

    method: str
    trained: int
    rounds: list[Seconds]
    resting_mb: float | None
    peak_mb: float | None

    @property
    def seconds(self) -> float:
        """Median by the clock."""
        return median(entry.wall for entry in self.rounds)

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {**asdict(self), "seconds": self.seconds}


def bench_training(
    methods: Sequence[str],
    request: Request,
    *,
    rounds: int = 3,
    progress: Progress = no_progress,
) -> list[MeasuredStep]:
    """Measure a training step of each method, in a fresh process for each.

    So the memory of one method is not counted for another. The videos are noise; the weights are
    random unless the request names some.
    """
    pick_device(request.compute.device)
    known_precision(request.compute.precision)
    measured = []
    with progress("training steps", len(methods)) as advance:
        for method in methods:
            own = request.change(model={"method": method})
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                step = pool.submit(measure_step, own, rounds, torch.get_num_threads())
                measured.append(step.result())
            advance(1)
    return measured


def measure_step(request: Request, rounds: int, threads: int) -> MeasuredStep:
    """Forward, loss, backward and AdamW, once to warm up and then `rounds` times.

    As in training, text that does not train is encoded beforehand. Raises UsageError for a method
    that has nothing to train.
    """
    torch.set_num_threads(threads)
    compute = request.compute
    device = pick_device(compute.device)
    adapter = load_method(with_weights(request.model)).adapter.to(device)
    adapter.freeze_all_but_trainable()
    trained = [entry.parameter for entry in adapter.trainable().values()]
    if not trained:
        raise UsageError(f"the method {adapter.name!r} has nothing to train")
    adapter.gradient_checkpointing = compute.gradient_checkpointing
    adapter.train()
    reading = resolve_settings(adapter, request.input).reading
    videos = made_up_videos(reading, compute.batch_size, device)
    resting = _memory(device)
    step = _make_step(adapter, trained, videos, compute)
    step()
    took = [timed(step, device) for _ in range(rounds)]
    count = sum(parameter.numel() for parameter in trained)
    return MeasuredStep(adapter.name, count, took, resting, _peak(device))


def _make_step(
    adapter: Adapter,
    trained: Sequence[torch.nn.Parameter],
    videos: torch.Tensor,
    compute: ComputeSpec,
) -> Callable[[], None]:
    precision = compute.precision
    encode_video = compiled_video(adapter) if compute.compile else adapter.encode_video
    names = adapter.tied_classes or [f"moving thing{number}" for number in range(CLASSES)]
    prompts = [[name] for name in names]
    targets = torch.arange(len(videos), device=videos.device) % len(names)
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=fused_on(videos.device))
    fixed = None
    if not adapter.text_trains:
        with torch.no_grad(), autocast(videos.device, precision):
            fixed = adapter.encode_text(prompts)

    def step() -> None:
        with autocast(videos.device, precision):
            text = adapter.encode_text(prompts) if fixed is None else fixed
            logits = adapter.score(encode_video(videos), text)
        cross_entropy(logits, targets).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _memory(device: torch.device) -> float | None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / MEGABYTE
    return _peak(device)


def _peak(device: torch.device) -> float | None:
    """The most memory so far, in megabytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MEGABYTE if sys.platform == "darwin" else most / 1024


def facts(request: Request) -> dict[str, Any]:
    """What is the same for all methods."""
    compute = request.compute
    return {
        "backbone": request.model.backbone,
        "batch_size": compute.batch_size,
        "frames": request.input.frames,
        "classes": CLASSES,
        "precision": compute.precision,
        "gradient_checkpointing": compute.gradient_checkpointing,
        "compiled": compute.compile,
        "device": device_name(pick_device(compute.device)),
        "threads": torch.get_num_threads(),
    }
