"""Time and memory of one training step of each method, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from statistics import median
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from vclip_cli.bench.computing import made_up_videos
from vclip_cli.bench.timing import Seconds, timed
from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.devices import autocast, device_name, known_precision, pick_device
from vclip_cli.engine.encoding.model import load_method
from vclip_cli.engine.encoding.settings import resolve_settings
from vclip_cli.engine.specs import InputSpec, ModelSpec
from vclip_cli.engine.training.optimiser import fused_on
from vclip_cli.engine.training.step import compiled_video
from vclip_cli.models.contract import Adapter

CLASSES = 51
"""Made-up classes, as many as HMDB51 has, each with a text of two words."""
MEGABYTE = 2**20


@dataclass(frozen=True)
class StepRequest:
    """Whose step is measured: `batch_size` videos of `frames` frames of noise, random weights."""

    method: ModelSpec
    frames: int | None = None
    device: str = "auto"
    precision: str = "fp32"
    batch_size: int = 2
    rounds: int = 3
    gradient_checkpointing: bool = False
    compiled: bool = False


@dataclass(frozen=True)
class MeasuredStep:
    """resting_mb: memory with the model built; peak_mb: the most until the last step was over, of
    the device or, on the CPU, of the whole process; None where the system does not tell."""

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
    requests: Sequence[StepRequest], *, progress: Progress = no_progress
) -> list[MeasuredStep]:
    """Measure each method's step in a fresh process, so that no other's memory counts."""
    for request in requests:
        pick_device(request.device)
        known_precision(request.precision)
    measured = []
    with progress("training steps", len(requests)) as advance:
        for request in requests:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                measured.append(
                    pool.submit(measure_step, request, torch.get_num_threads()).result()
                )
            advance(1)
    return measured


def measure_step(request: StepRequest, threads: int) -> MeasuredStep:
    """Forward, loss, backward and AdamW, once to warm up and then `rounds` times.

    As in training: text that does not train is encoded beforehand. Raises UsageError for a method
    that trains nothing.
    """
    torch.set_num_threads(threads)
    device = pick_device(request.device)
    source = request.method
    if source.pretrained is None and source.checkpoint is None:
        source = replace(source, pretrained="random")
    adapter = load_method(source).adapter.to(device)
    adapter.freeze_all_but_trainable()
    trained = [entry.parameter for entry in adapter.trainable().values()]
    if not trained:
        raise UsageError(f"the method {adapter.name!r} has nothing to train")
    adapter.gradient_checkpointing = request.gradient_checkpointing
    adapter.train()
    reading = resolve_settings(adapter, InputSpec(frames=request.frames)).reading
    videos = made_up_videos(reading, request.batch_size, device)
    resting = _memory(device)
    step = _make_step(adapter, trained, videos, request)
    step()
    rounds = [timed(step, device) for _ in range(request.rounds)]
    count = sum(parameter.numel() for parameter in trained)
    return MeasuredStep(adapter.name, count, rounds, resting, _peak(device))


def _make_step(
    adapter: Adapter,
    trained: Sequence[torch.nn.Parameter],
    videos: torch.Tensor,
    request: StepRequest,
) -> Any:
    precision = request.precision
    encode_video = compiled_video(adapter) if request.compiled else adapter.encode_video
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
    """The most memory so far in megabytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / MEGABYTE if sys.platform == "darwin" else most / 1024


def facts(request: StepRequest) -> dict[str, Any]:
    """What was the same for all methods."""
    return {
        "backbone": request.method.backbone,
        "batch_size": request.batch_size,
        "frames": request.frames,
        "classes": CLASSES,
        "precision": request.precision,
        "gradient_checkpointing": request.gradient_checkpointing,
        "compiled": request.compiled,
        "device": device_name(pick_device(request.device)),
        "threads": torch.get_num_threads(),
    }
