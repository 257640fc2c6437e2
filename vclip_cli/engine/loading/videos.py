"""From video files to batches: decoded, resized and cropped in guarded workers, still uint8.

Workers load no torch: they start in a second, and hold little memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vclip_cli.common.errors import VclipError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.loading.frame_source import decode_listed, require_videos
from vclip_cli.engine.loading.workers import Lost, guarded_calls
from vclip_cli.engine.specs import UNPROTECTED, WorkerSpec
from vclip_cli.video.decoded import Damage
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.preprocess import preprocess_frames
from vclip_cli.video.sampling import Sampling

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ListedVideo:
    """A listed video: its id and where it lies; `path` is relative to the root, empty if absent."""

    video: str
    path: str


@dataclass(frozen=True)
class VideoReading:
    """How every video of a run is read.

    sampling: which frames; crops: 1 or 3 spatial views; decoder: `exact` or `decord`; store: where
    the frames were extracted to, None to decode the video files.
    """

    sampling: Sampling
    preprocessing: Preprocessing
    crops: int = 1
    decoder: str = "exact"
    allow_single: bool = False
    store: FrameStore | None = None

    @property
    def views(self) -> int:
        """V: temporal times spatial views."""
        return self.sampling.clips * self.crops

    @property
    def decoder_facts(self) -> dict[str, Any]:
        """Name, library, version and mode of what decoded, or will decode, the videos."""
        return self.store.settings.decoder if self.store else describe_decoder(self.decoder)

    @property
    def store_facts(self) -> dict[str, Any] | None:
        """What identifies the store's frames, None where the video files are decoded."""
        return self.store.describe() if self.store else None


def read_views(path: Path, reading: VideoReading) -> np.ndarray:
    """One video as uint8 (V,T,S,S,3), temporal views outermost. Raises VideoError."""
    return read_views_and_damage(path, reading)[0]


def read_views_and_damage(path: Path, reading: VideoReading) -> tuple[np.ndarray, Damage]:
    """What `read_views` gives, and the signs of damage that were met."""
    return _views_and_damage(Path(), ListedVideo(str(path), str(path)), reading)


def _views_and_damage(
    root: Path, item: ListedVideo, reading: VideoReading
) -> tuple[np.ndarray, Damage]:
    clip = decode_listed(
        root,
        item.video,
        item.path,
        lambda count: reading.sampling.indices(count).ravel(),
        decoder=reading.decoder,
        store=reading.store,
        allow_single=reading.allow_single,
    )
    return _views(clip.frames, reading), clip.damaged


def views_of_frames(frames: np.ndarray, reading: VideoReading) -> np.ndarray:
    """All frames of a video, uint8 (T,H,W,3), to its views (V,T,S,S,3)."""
    return _views(frames[reading.sampling.indices(len(frames)).ravel()], reading)


def _views(wanted: np.ndarray, reading: VideoReading) -> np.ndarray:
    crops = preprocess_frames(wanted, reading.preprocessing, crops=reading.crops)
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
class VideoBatch:
    """positions: which items these are; frames: uint8 (B,V,T,S,S,3), None when all failed; damage:
    signs of damage met in a video, by its id, of those that show any."""

    positions: list[int]
    frames: torch.Tensor | None
    failures: list[Failure]
    damage: dict[str, dict[str, int]] = field(default_factory=dict)


_Row = tuple[int, np.ndarray | Failure, dict[str, dict[str, int]]]


def _read(where: tuple[Path, VideoReading], key: tuple[int, ListedVideo]) -> _Row:
    (root, reading), (position, item) = where, key
    try:
        views, damage = _views_and_damage(root, item, reading)
        return position, views, {item.video: damage.as_dict()} if damage else {}
    except VclipError as error:
        if item.path and reading.store is None:
            require_videos(root)
        return position, failure_of(item.video, item.path, error), {}


def _collate(rows: list[_Row], pin_memory: bool) -> VideoBatch:
    import torch

    good = [(position, value) for position, value, _ in rows if isinstance(value, np.ndarray)]
    frames = torch.from_numpy(np.stack([value for _, value in good])) if good else None
    if frames is not None and pin_memory:
        frames = frames.pin_memory()
    failures = [value for _, value, _ in rows if isinstance(value, Failure)]
    damage = {video: counts for *_, found in rows for video, counts in found.items()}
    return VideoBatch([position for position, _ in good], frames, failures, damage)


def video_batches(
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    batches: Sequence[Sequence[int]],
    *,
    guard: WorkerSpec = UNPROTECTED,
    pin_memory: bool = False,
) -> Iterator[VideoBatch]:
    """The batches of positions in order; a video that cannot be read becomes a failure.

    So does one that takes longer or more memory than `guard` allows, or takes its worker down.
    Raises DataError when the folder of videos has gone.
    """
    keys = [(position, items[position]) for batch in batches for position in batch]
    rows = guarded_calls(_read, (root, reading), keys, guard)
    for batch in batches:
        found = [_row(position, items[position], next(rows)) for position in batch]
        yield _collate(found, pin_memory)


def _row(position: int, item: ListedVideo, result: _Row | Lost) -> _Row:
    if not isinstance(result, Lost):
        return result
    return position, Failure(item.video, item.path, result.reason), {}
