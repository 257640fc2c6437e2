"""Training samples: the videos of each update and rank, and their frames.

The seed of a draw encodes its purpose, so no draw depends on the order of work, the process or the
worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vclip_cli.common.errors import VclipError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Recipe
from vclip_cli.engine.loading.datasets import decode_listed, require_videos
from vclip_cli.engine.loading.videos import failed_video
from vclip_cli.engine.loading.workers import FailedCall, call_in_workers
from vclip_cli.engine.runs.parts import FailedVideo
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.engine.specs import UNPROTECTED, WorkerSpec
from vclip_cli.engine.training.augmentation import augment
from vclip_cli.engine.training.targets import UpdateLabels, draw_labels, pad_labels
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import midpoint_indices, random_segment_indices

SampleKey = tuple[int, int]
"""The epoch, and the position of a video in the training list: what a sample is drawn from."""
Sample = tuple[np.ndarray, int | tuple[int, ...]]
"""Frames uint8 (T,S,S,3) and the target of a training video."""


def seed_of(*parts: object) -> int:
    """A 63-bit seed from the parts that name a draw."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def steps_of(count: int, recipe: Recipe) -> tuple[int, int]:
    """(steps in all, steps per epoch) for `count` training videos."""
    assert recipe.schedule is not None  # checked by plan_run
    an_epoch = -(-count // recipe.batch_size)
    if recipe.schedule.steps is not None:
        return recipe.schedule.steps, an_epoch
    assert recipe.schedule.epochs is not None  # the schema requires one of the two
    return recipe.schedule.epochs * an_epoch, an_epoch


def plan_updates(count: int, recipe: Recipe, seed: int, steps: int) -> Iterator[list[SampleKey]]:
    """The keys of each of `steps` updates; every epoch is shuffled anew."""
    done, epoch = 0, 0
    while done < steps:
        order = np.random.default_rng(seed_of("order", seed, epoch)).permutation(count).tolist()
        for start in range(0, count, recipe.batch_size):
            if done == steps:
                return
            yield [(epoch, position) for position in order[start : start + recipe.batch_size]]
            done += 1
        epoch += 1


def split_update(
    update: Sequence[SampleKey], shard: Shard, size: int, *, keep_pairs: bool
) -> list[list[SampleKey]]:
    """The micro-batches, of at most `size` videos, that one rank computes of an update.

    keep_pairs: keep videos that are mixed with each other together.
    """
    unit = 2 if keep_pairs else 1
    units = [update[start : start + unit] for start in range(0, len(update), unit)]
    own = [key for videos in shard.of(units) for key in videos]
    size = max(unit, size - size % unit)
    return [own[start : start + size] for start in range(0, len(own), size)]


def train_indices(
    count: int, recipe: Recipe, seed: int, candidates: int | None = None
) -> np.ndarray:
    """The indices of the frames of one sample, (T,), in a video of `count` frames.

    candidates: frames per segment that a store keeps for random draws; None for all.
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
class TrainingItem:
    """A training video.

    path: relative to the root; target: the index of its class, or the indices of all its labels.
    """

    video: str
    path: str
    target: int | tuple[int, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """The indices of its labels; one class is one label."""
        return self.target if isinstance(self.target, tuple) else (self.target,)


@dataclass(frozen=True)
class SampleReading:
    """How training videos are read.

    root: their folder; may_flip: whether the recipe's flips are drawn; store: the frame store to
    read from, None to decode the video files.
    """

    root: Path
    recipe: Recipe
    preprocessing: Preprocessing
    seed: int
    may_flip: bool
    decoder: str = "exact"
    store: FrameStore | None = None

    def read(self, epoch: int, item: TrainingItem) -> Sample:
        """Decode, augment and crop the frames of one sample. Raises VclipError."""
        seed = seed_of("sample", self.seed, epoch, item.video)
        candidates = self.store.settings.kept.draws if self.store else None
        video = decode_listed(
            self.root,
            item.video,
            item.path,
            lambda count: train_indices(count, self.recipe, seed, candidates),
            decoder=self.decoder,
            store=self.store,
        )
        how = self.recipe.augmentation
        frames = augment(video.frames, self.preprocessing, how, seed, may_flip=self.may_flip)
        return frames, item.target


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The videos of a run and how they are read.

    items: all with one class, or all with a tuple of labels. prompts: one list a class, in the
    order of the targets' indices.
    """

    items: Sequence[TrainingItem]
    reading: SampleReading
    prompts: Sequence[Sequence[str]]

    @property
    def multi_label(self) -> bool:
        """Whether the videos have several labels each."""
        return isinstance(self.items[0].target, tuple)

    def labels_of_update(self, update: Sequence[SampleKey], step: int) -> UpdateLabels | None:
        """The labels on which an update's loss is computed; None where a video has one class."""
        if not self.multi_label:
            return None
        present = {label for _, position in update for label in self.items[position].labels}
        seed = seed_of("labels", self.reading.seed, step)
        return draw_labels(present, len(self.prompts), self.reading.recipe.negatives, seed)


@dataclass(frozen=True)
class MicroBatch:
    """Videos that go through the model together, and what failed.

    frames: uint8 (B,T,S,S,3); targets: class indices (B,), or labels (B,L) filled up with
    `targets.NO_LABEL`. Both are None when no video could be read.
    """

    frames: torch.Tensor | None
    targets: torch.Tensor | None
    failures: list[FailedVideo]


def micro_batches(
    data: TrainingData, planned: Sequence[Sequence[SampleKey]], workers: WorkerSpec = UNPROTECTED
) -> Iterator[MicroBatch]:
    """Read the planned micro-batches in order.

    A video that takes longer or more memory than `workers` allows, or crashes its worker, is a
    failure. Raises DataError when the folder of videos has gone.
    """
    keys = [(epoch, data.items[position]) for batch in planned for epoch, position in batch]
    results = call_in_workers(_read, data.reading, keys, workers)
    for batch in planned:
        samples: list[Sample] = []
        failures: list[FailedVideo] = []
        for _, position in batch:
            item, result = data.items[position], next(results)
            if isinstance(result, FailedCall):  # its worker was lost
                result = FailedVideo(item.video, item.path, result.reason)
            if isinstance(result, FailedVideo):
                failures.append(result)
            else:
                samples.append(result)
        frames = targets = None
        if samples:
            frames = torch.from_numpy(np.stack([frames for frames, _ in samples]))
            labels: list[Any] = [target for _, target in samples]
            targets = pad_labels(labels) if data.multi_label else torch.tensor(labels)
        yield MicroBatch(frames, targets, failures)


def _read(reading: SampleReading, key: tuple[int, TrainingItem]) -> Sample | FailedVideo:
    epoch, item = key
    try:
        return reading.read(epoch, item)
    except VclipError as error:
        if item.path and reading.store is None:
            require_videos(reading.root)
        return failed_video(item.video, item.path, error)
