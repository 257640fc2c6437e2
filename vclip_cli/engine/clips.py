"""From video files to batches: decoded, resized and cropped in workers, still uint8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from vclip_cli.errors import VclipError, VideoError
from vclip_cli.preprocessing import Preprocessing
from vclip_cli.video import decode
from vclip_cli.video.preprocess import preprocess_frames
from vclip_cli.video.sampling import Sampling


@dataclass(frozen=True)
class ClipItem:
    """A listed video: its id and where it lies; `path` is relative to the root, empty if absent."""

    video: str
    path: str


@dataclass(frozen=True)
class ClipReading:
    """How every video of a run is read.

    sampling: which frames; crops: 1 or 3 spatial views; decoder: `exact` or `decord`.
    """

    sampling: Sampling
    preprocessing: Preprocessing
    crops: int = 1
    decoder: str = "exact"
    allow_single: bool = False

    @property
    def views(self) -> int:
        """V: temporal times spatial views."""
        return self.sampling.clips * self.crops


def read_views(path: Path, reading: ClipReading) -> np.ndarray:
    """One video as uint8 (V,T,S,S,3), temporal views outermost. Raises VideoError."""
    clip = decode(
        path,
        lambda count: reading.sampling.indices(count).ravel(),
        decoder=reading.decoder,
        allow_single=reading.allow_single,
    )
    crops = preprocess_frames(clip.frames, reading.preprocessing, crops=reading.crops)
    clips, frames = reading.sampling.clips, reading.sampling.frames
    by_crop = crops.reshape(crops.shape[0], clips, frames, *crops.shape[2:])
    return np.ascontiguousarray(by_crop.swapaxes(0, 1)).reshape(-1, frames, *crops.shape[2:])


@dataclass(frozen=True)
class Failure:
    """A listed video that could not be scored, and why."""

    video: str
    path: str
    reason: str


def failure_of(video: str, path: str, error: VclipError) -> Failure:
    """The row of a video that met an error; where the file lies is no part of the reason."""
    reason = f"{error.what} ({error.found})" if error.found else error.what
    return Failure(video, path, reason)


@dataclass(frozen=True)
class ClipBatch:
    """positions: which items these are; frames: uint8 (B,V,T,S,S,3), None when all failed."""

    positions: list[int]
    frames: torch.Tensor | None
    failures: list[Failure]


class _ClipFiles(Dataset):
    def __init__(self, root: Path, items: Sequence[ClipItem], reading: ClipReading) -> None:
        self.root = root
        self.items = items
        self.reading = reading

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, position: int) -> tuple[int, np.ndarray | Failure]:
        item = self.items[position]
        try:
            if not item.path:
                raise VideoError("listed, but not on disk")
            return position, read_views(self.root / item.path, self.reading)
        except VclipError as error:
            return position, failure_of(item.video, item.path, error)


def _collate(rows: list[tuple[int, np.ndarray | Failure]]) -> ClipBatch:
    good = [(position, value) for position, value in rows if isinstance(value, np.ndarray)]
    frames = torch.from_numpy(np.stack([value for _, value in good])) if good else None
    failures = [value for _, value in rows if isinstance(value, Failure)]
    return ClipBatch([position for position, _ in good], frames, failures)


def clip_batches(
    root: Path,
    items: Sequence[ClipItem],
    reading: ClipReading,
    batches: Sequence[Sequence[int]],
    *,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[ClipBatch]:
    """The batches of positions in order; a video that cannot be read becomes a failure.

    Workers are started afresh (`spawn`): forking a process that runs torch's threads may hang.
    """
    workers = min(workers, len(batches))
    yield from DataLoader(
        _ClipFiles(root, items, reading),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        multiprocessing_context="spawn" if workers else None,
    )
