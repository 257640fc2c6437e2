"""From video files to batches: read, resized and cropped in workers, still uint8.

Workers load no torch, so that they start in a second and take little memory.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from vclip_cli.common.errors import VclipError, VideoError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.loading.datasets import decode_listed, prepare_videos, require_videos
from vclip_cli.engine.loading.workers import FailedCall, call_in_workers
from vclip_cli.engine.runs.parts import FailedVideo
from vclip_cli.engine.specs import UNPROTECTED, InputSpec, WorkerSpec
from vclip_cli.video.decoded import Damage
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.exact import require_decodable
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.preprocess import preprocess_frames
from vclip_cli.video.sampling import Rule, Sampling
from vclip_cli.video.store_packing import SourceFile

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")


@dataclass(frozen=True)
class ListedVideo:
    """A listed video: its id and its file. path: relative to the videos' folder, or absolute for a
    video of no dataset; empty where the video is not on disk."""

    video: str
    path: str

    def below(self, root: Path) -> Path | None:
        """The file, None where the video is not on disk."""
        return root / self.path if self.path else None

    def source(self, root: Path) -> SourceFile:
        """Size and modification time of the file."""
        return SourceFile.of(root / self.path) if self.path else SourceFile()


@dataclass(frozen=True)
class VideoReading:
    """How every video of a run is read.

    input: which frames; `frames` and `preprocessing` must be stated. By default there is one view
    of uniformly sampled frames. store: the frame store to read, None to decode the video files.
    """

    input: InputSpec
    store: FrameStore | None = None

    def __post_init__(self) -> None:
        _ = self.sampling  # refuses numbers that make no sense: UsageError

    @cached_property
    def sampling(self) -> Sampling:
        """Which frames."""
        asked = self.input
        assert asked.frames is not None  # stated, as the class says
        rule = cast(Rule, asked.sampling or "uniform")  # Sampling refuses any other
        return Sampling(asked.frames, asked.clips or 1, rule, asked.stride or 1)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to the frames."""
        assert self.input.preprocessing is not None  # stated, as the class says
        return self.input.preprocessing

    @property
    def crops(self) -> int:
        """Spatial views a clip: 1 or 3."""
        return self.input.crops or 1

    @property
    def decoder(self) -> str:
        """`exact` or `decord`."""
        return self.input.decoder

    @property
    def views(self) -> int:
        """V: temporal times spatial views."""
        return self.sampling.clips * self.crops

    @property
    def decoder_facts(self) -> dict[str, Any]:
        """Name, library, version and mode of the decoder of these videos."""
        return self.store.settings.decoder if self.store else describe_decoder(self.decoder)

    @property
    def store_facts(self) -> dict[str, Any] | None:
        """What identifies the store's frames, None where the video files are decoded."""
        return self.store.describe() if self.store else None

    def describe(self) -> dict[str, Any]:
        """Everything that the frames depend on, JSON-able; stored embeddings are keyed by it."""
        return {
            "sampling": self.sampling.as_dict(),
            "preprocessing": self.preprocessing.as_dict(),
            "crops": self.crops,
            "decoder": self.decoder_facts,
            "allow_single": self.input.allow_single_frame,
            "store": self.store_facts,
        }


@dataclass(frozen=True)
class VideoSet:
    """The videos of a pass, and how they are read.

    root: their folder; videos: in order, a position stands for a video; dataset: its name, empty
    for single files.
    """

    root: Path
    videos: Sequence[ListedVideo]
    reading: VideoReading
    dataset: str = ""

    def __len__(self) -> int:
        return len(self.videos)

    def at(self, positions: Sequence[int]) -> VideoSet:
        """The set of the videos at some positions."""
        return replace(self, videos=[self.videos[position] for position in positions])

    def stamp(self, item: ListedVideo) -> SourceFile:
        """Size and modification time of a video's file; with a frame store, those at extraction."""
        store = self.reading.store
        if store is None:
            return item.source(self.root)
        position = store.index.position(item.video)
        if position is None:
            return SourceFile()
        row = store.index.rows[position]
        return SourceFile(int(row["source_size"]), int(row["source_mtime"]))

    def prepare(self, progress: Progress = no_progress) -> None:
        """Render the videos of the embedded benchmark that are not there yet."""
        if self.reading.store is None:
            prepare_videos(self.dataset, [item.video for item in self.videos], progress=progress)


def read_views(path: Path, reading: VideoReading) -> np.ndarray:
    """One video as uint8 (V,T,S,S,3), temporal views outermost. Raises VideoError."""
    return _read_views(Path(), ListedVideo(str(path), str(path)), reading)[0]


def _read_views(root: Path, item: ListedVideo, reading: VideoReading) -> tuple[np.ndarray, Damage]:
    """The views of a listed video, and the signs of damage that were met."""
    decoded = decode_listed(
        root,
        item.video,
        item.path,
        lambda count: reading.sampling.indices(count).ravel(),
        decoder=reading.decoder,
        store=reading.store,
        allow_single=reading.input.allow_single_frame,
    )
    return _views(decoded.frames, reading), decoded.damaged


def views_of_frames(frames: np.ndarray, reading: VideoReading) -> np.ndarray:
    """All frames of a video, uint8 (T,H,W,3), to its views (V,T,S,S,3)."""
    return _views(frames[reading.sampling.indices(len(frames)).ravel()], reading)


def _views(wanted: np.ndarray, reading: VideoReading) -> np.ndarray:
    crops = preprocess_frames(wanted, reading.preprocessing, crops=reading.crops)
    clips, frames = reading.sampling.clips, reading.sampling.frames
    by_crop = crops.reshape(crops.shape[0], clips, frames, *crops.shape[2:])
    return np.ascontiguousarray(by_crop.swapaxes(0, 1)).reshape(-1, frames, *crops.shape[2:])


def failed_video(video: str, path: str, error: VclipError) -> FailedVideo:
    """A video that met an error. The file's place is left out of the reason."""
    reason = f"{error.what} ({error.found})" if error.found else error.what
    return FailedVideo(video, path, reason)


@dataclass(frozen=True)
class VideoBatch:
    """Some videos as they were read.

    positions: the videos that could be read; frames: theirs, uint8 (B,V,T,S,S,3), None if none
    could; failures: the other videos; errors: theirs, by position; damage: signs of damage by video
    id, without sound videos.
    """

    positions: list[int]
    frames: torch.Tensor | None
    failures: list[FailedVideo]
    errors: dict[int, VclipError] = field(default_factory=dict)
    damage: dict[str, dict[str, int]] = field(default_factory=dict)


_Row = tuple[np.ndarray, dict[str, int]] | VclipError


def _read(where: tuple[Path, VideoReading], item: ListedVideo) -> _Row:
    root, reading = where
    try:
        views, damage = _read_views(root, item, reading)
    except VclipError as error:
        if item.path and not Path(item.path).is_absolute() and reading.store is None:
            require_videos(root)
        return error
    return views, damage.as_dict() if damage else {}


def video_batches(
    videos: VideoSet,
    batches: Sequence[Sequence[int]],
    workers: WorkerSpec = UNPROTECTED,
    *,
    pin_memory: bool = False,
) -> Iterator[VideoBatch]:
    """The batches of positions in order; a video that cannot be read becomes a failure.

    So does a video that exceeds the time or memory of `workers`, or crashes its worker. pin_memory:
    for a GPU; the next batches are prepared while this one is used. Raises DataError when the
    folder of videos has gone.
    """
    read = _batches(videos, batches, workers, pin_memory)
    return prefetched(read) if pin_memory else read


def _batches(
    videos: VideoSet, batches: Sequence[Sequence[int]], workers: WorkerSpec, pin_memory: bool
) -> Generator[VideoBatch, None, None]:
    import torch

    items = [videos.videos[position] for batch in batches for position in batch]
    rows = call_in_workers(_read, (videos.root, videos.reading), items, workers)
    for batch in batches:
        views: dict[int, np.ndarray] = {}
        errors: dict[int, VclipError] = {}
        failures, damage = [], {}
        for position in batch:
            item, row = videos.videos[position], next(rows)
            if isinstance(row, FailedCall):
                row = VideoError(row.reason)
            if isinstance(row, VclipError):
                errors[position] = row
                failures.append(failed_video(item.video, item.path, row))
                continue
            views[position], signs = row
            if signs:
                damage[item.video] = signs
        frames = torch.from_numpy(np.stack(list(views.values()))) if views else None
        if frames is not None and pin_memory:
            frames = frames.pin_memory()
        yield VideoBatch(list(views), frames, failures, errors, damage)


# Reading ahead ------------------------------------------------------------------------------------


_SECONDS_TO_STOP = 5.0
_END = object()


def prefetched(items: Generator[Item, None, None], depth: int = 2) -> Iterator[Item]:
    """The same items in the same order, made ahead in a thread.

    depth: how many items may wait; more only take memory. An exception of `items` is raised at its
    place in the order. When the caller leaves early, `items` is closed.
    """
    waiting: queue.Queue[Any] = queue.Queue(depth)
    left = threading.Event()

    def put(entry: tuple[Any, BaseException | None]) -> bool:
        while not left.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(entry, timeout=0.1)
                return True
        return False

    def fill() -> None:
        with contextlib.closing(items):
            try:
                if all(put((item, None)) for item in items):
                    put((_END, None))
            except BaseException as error:  # of any kind: it is raised where the items are used
                put((_END, error))

    thread = threading.Thread(target=fill, name="vclip-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        left.set()
        thread.join(_SECONDS_TO_STOP)


# Whether files can be decoded ---------------------------------------------------------------------


def undecodable(
    paths: Sequence[Path], workers: WorkerSpec, *, full: bool = False
) -> Iterator[str | None]:
    """For each file in order, why it cannot be decoded; None if it can.

    full: decode every frame, not only the first.
    """
    for found in call_in_workers(_why_undecodable, full, paths, workers):
        yield found.reason if isinstance(found, FailedCall) else found


def _why_undecodable(full: bool, path: Path) -> str | None:
    try:
        require_decodable(path, full=full)
    except VclipError as error:
        return error.what
    return None
