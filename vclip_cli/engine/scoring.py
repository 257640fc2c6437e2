"""Scores of listed videos over candidate classes, resumable part by part.

A pass is cut into parts of a fixed number of videos; each finished part is one file. A killed run
goes on after its last whole part, and since batches never cross parts, the outcome is the same to
the byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vclip_cli.engine.clips import ClipItem, ClipReading, Failure, clip_batches
from vclip_cli.engine.devices import autocast
from vclip_cli.errors import DataError
from vclip_cli.files import whole_file
from vclip_cli.models.contract import Adapter
from vclip_cli.progress import Progress, no_progress
from vclip_cli.video.preprocess import normalise

PART_SIZE = 64
PerLabel = Callable[[torch.Tensor], torch.Tensor]
"""Logits (B,K) to one score a label, each by itself; see `label_probability`."""


@dataclass(frozen=True)
class Scores:
    """scores: float32 (N,K) of the videos that could be read, in the order they were listed."""

    videos: list[str]
    scores: np.ndarray
    failures: list[Failure]


@dataclass(frozen=True)
class Computing:
    """Where and how the arithmetic is done."""

    device: torch.device
    precision: str = "fp32"
    batch_size: int = 8
    workers: int = 0


def part_size(batch_size: int) -> int:
    """Videos a part: at least 64, and whole batches."""
    return -(-PART_SIZE // batch_size) * batch_size


def score_videos(
    adapter: Adapter,
    text: Any,
    root: Path,
    items: Sequence[ClipItem],
    reading: ClipReading,
    computing: Computing,
    parts: Path,
    *,
    per_label: PerLabel | None = None,
    progress: Progress = no_progress,
    description: str = "scoring",
) -> Scores:
    """Score every item, reusing the whole parts that lie in the folder `parts`.

    text: what the adapter's `encode_text` gave. Scores are probabilities, averaged over views: the
    softmax over the classes, or what `per_label` makes of each logit by itself.
    """
    size = part_size(computing.batch_size)
    starts = range(0, len(items), size)
    finished = {start: part for start in starts if (part := _read_part(parts, start))}
    done = sum(len(part.videos) + len(part.failures) for part in finished.values())
    open_starts = [start for start in starts if start not in finished]
    batches = [
        range(first, min(first + computing.batch_size, start + size, len(items)))
        for start in open_starts
        for first in range(start, min(start + size, len(items)), computing.batch_size)
    ]
    on_gpu = computing.device.type == "cuda"
    growing = _GrowingPart()
    with progress(description, len(items), done) as advance:
        for positions, batch in zip(
            batches,
            clip_batches(
                root, items, reading, batches, workers=computing.workers, pin_memory=on_gpu
            ),
            strict=True,
        ):
            if batch.frames is not None:
                frames = batch.frames.to(computing.device, non_blocking=on_gpu)
                scores = score_batch(adapter, text, frames, reading, computing, per_label)
                growing.scores.append(scores.cpu().numpy())
            growing.videos += [items[position].video for position in batch.positions]
            growing.failures += batch.failures
            if positions.stop % size == 0 or positions.stop == len(items):
                start = (positions.stop - 1) // size * size
                finished[start] = growing.close()
                _write_part(parts, start, finished[start])
                growing = _GrowingPart()
            advance(len(positions))
    return join([finished[start] for start in starts])


@dataclass
class _GrowingPart:
    videos: list[str] = field(default_factory=list)
    scores: list[np.ndarray] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def close(self) -> Scores:
        scores = np.concatenate(self.scores) if self.scores else np.zeros((0, 0), np.float32)
        return Scores(self.videos, scores, self.failures)


def join(parts: Sequence[Scores]) -> Scores:
    """Several parts as one, in order."""
    scored = [part.scores for part in parts if part.videos]
    return Scores(
        videos=[video for part in parts for video in part.videos],
        scores=np.concatenate(scored) if scored else np.zeros((0, 0), np.float32),
        failures=[failure for part in parts for failure in part.failures],
    )


@torch.inference_mode()
def encode_text(adapter: Adapter, prompts: Sequence[Sequence[str]], computing: Computing) -> Any:
    """What the adapter's `score` needs of the classes, computed once, in the run's precision."""
    with autocast(computing.device, computing.precision):
        return adapter.encode_text(prompts)


@torch.inference_mode()
def score_batch(
    adapter: Adapter,
    text: Any,
    frames: torch.Tensor,
    reading: ClipReading,
    computing: Computing,
    per_label: PerLabel | None = None,
) -> torch.Tensor:
    """Frames uint8 (B,V,T,S,S,3) to scores float32 (B,K)."""
    batch, views = frames.shape[:2]
    clips = normalise(frames.flatten(0, 1), reading.preprocessing)
    with autocast(computing.device, computing.precision):
        logits = adapter.score(adapter.encode_video(clips), text).float()
    per_view = logits.softmax(dim=-1) if per_label is None else per_label(logits)
    return per_view.unflatten(0, (batch, views)).mean(dim=1).float()


def _part_path(parts: Path, start: int) -> Path:
    return parts / f"{start:08d}.safetensors"


def _write_part(parts: Path, start: int, part: Scores) -> None:
    from safetensors.numpy import save_file

    facts = {
        "videos": json.dumps(part.videos),
        "failures": json.dumps([vars(failure) for failure in part.failures]),
    }
    with whole_file(_part_path(parts, start)) as temporary:
        save_file({"scores": part.scores.astype(np.float32)}, temporary, metadata=facts)


def _read_part(parts: Path, start: int) -> Scores | None:
    from safetensors import safe_open

    path = _part_path(parts, start)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            facts = stream.metadata()
            scores = stream.get_tensor("scores")
        failures = [Failure(**values) for values in json.loads(facts["failures"])]
        return Scores(json.loads(facts["videos"]), scores, failures)
    except Exception as error:  # the format's reader has no common error for damaged files
        raise DataError(
            "a part of the interrupted run is damaged",
            where=str(path),
            found=str(error)[:200],
            hint="delete the file, or start again with --no-resume",
        ) from None
