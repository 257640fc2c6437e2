"""Training samples: which videos make which update, and the frames of each, all from seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vclip_cli.common.errors import VclipError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Recipe
from vclip_cli.engine.loading.frame_source import decode_listed, require_videos
from vclip_cli.engine.loading.videos import Failure, failure_of
from vclip_cli.engine.loading.workers import UNGUARDED, Guard, Lost, guarded_calls
from vclip_cli.engine.training.augmentation import augment
from vclip_cli.engine.training.multi_label import padded
from vclip_cli.engine.training.updates import seed_of
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import midpoint_indices, random_segment_indices


@dataclass(frozen=True)
class TrainingItem:
    """A training video: id, path relative to the root, index of its class, or of all its labels."""

    video: str
    path: str
    target: int | tuple[int, ...]


@dataclass(frozen=True)
class MicroBatch:
    """A piece of an update: uint8 frames (B,T,S,S,3), class indices (B,), and what failed.

    With several labels a video the indices are (B,L), filled up with `multi_label.NO_LABEL`.
    """

    frames: torch.Tensor | None
    targets: torch.Tensor | None
    failures: list[Failure]

    def pinned(self) -> MicroBatch:
        """The same in memory that a GPU reads from directly."""
        frames = self.frames.pin_memory() if self.frames is not None else None
        targets = self.targets.pin_memory() if self.targets is not None else None
        return MicroBatch(frames, targets, self.failures)


Sample = tuple[np.ndarray, int | tuple[int, ...]]
"""Frames uint8 (T,S,S,3) and the target of a training video."""


def train_indices(
    count: int, recipe: Recipe, seed: int, candidates: int | None = None
) -> np.ndarray:
    """The frames of one sample, of `count` in the video: shape (T,).

    candidates: how many frames a segment a store keeps for random draws, None for all.
    """
    rng = np.random.default_rng(seed)
    rule, frames = recipe.sampling.train, recipe.frames
    if rule == "uniform":
        return midpoint_indices(count, frames)
    if rule == "random":
        return random_segment_indices(count, frames, rng, candidates)
    span = (frames - 1) * recipe.sampling.stride + 1
    start = int(rng.integers(max(count - span, 0) + 1))
    return np.minimum(start + np.arange(frames) * recipe.sampling.stride, count - 1)


@dataclass(frozen=True)
class SampleReading:
    """How training videos are read. flip: whether the recipe's flips are drawn; store: where the
    frames were extracted to, None to decode the video files."""

    recipe: Recipe
    preprocessing: Preprocessing
    seed: int
    flip: bool
    decoder: str = "exact"
    store: FrameStore | None = None

    @property
    def candidates(self) -> int | None:
        """Frames a segment that random draws choose among, None for all of them."""
        return self.store.settings.kept.draws if self.store else None


def _read(where: tuple[Path, SampleReading], key: tuple[int, TrainingItem]) -> Sample | Failure:
    (root, reading), (epoch, item) = where, key
    seed = seed_of("sample", reading.seed, epoch, item.video)
    try:
        clip = decode_listed(
            root,
            item.video,
            item.path,
            lambda count: train_indices(count, reading.recipe, seed, reading.candidates),
            decoder=reading.decoder,
            store=reading.store,
        )
        how = reading.recipe.augmentation
        frames = augment(clip.frames, reading.preprocessing, how, seed, flip=reading.flip)
    except VclipError as error:
        if item.path and reading.store is None:
            require_videos(root)
        return failure_of(item.video, item.path, error)
    return frames, item.target


def _collate(rows: list[Sample | Failure]) -> MicroBatch:
    good = [row for row in rows if not isinstance(row, Failure)]
    failures = [row for row in rows if isinstance(row, Failure)]
    if not good:
        return MicroBatch(None, None, failures)
    frames = torch.from_numpy(np.stack([frames for frames, _ in good]))
    targets = [target for _, target in good]
    several = isinstance(targets[0], tuple)
    return MicroBatch(frames, padded(targets) if several else torch.tensor(targets), failures)


def micro_batches(
    root: Path,
    items: Sequence[TrainingItem],
    reading: SampleReading,
    plan: Sequence[Sequence[tuple[int, int]]],
    *,
    guard: Guard = UNGUARDED,
    pin_memory: bool = False,
) -> Iterator[MicroBatch]:
    """The planned pieces in order; each key is (epoch, position of the video).

    A clip that takes longer or more memory than `guard` allows, or takes its worker down, fails.
    Raises DataError when the folder of videos has gone.
    """
    keys = [(epoch, items[position]) for piece in plan for epoch, position in piece]
    rows = guarded_calls(_read, (root, reading), keys, guard)
    for piece in plan:
        batch = _collate([_row(items[position], next(rows)) for _, position in piece])
        yield batch.pinned() if pin_memory else batch


def _row(item: TrainingItem, result: Any) -> Any:
    return Failure(item.video, item.path, result.reason) if isinstance(result, Lost) else result
