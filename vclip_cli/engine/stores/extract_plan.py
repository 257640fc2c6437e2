"""Planning of `vclip extract`: missing and damaged videos, and disk space. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import free_bytes
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.loading.datasets import (
    default_store,
    open_dataset,
    prepare_videos,
    require_videos,
)
from vclip_cli.engine.loading.videos import ListedVideo
from vclip_cli.engine.loading.workers import FailedCall, call_in_workers
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.shards import Shard, Workload
from vclip_cli.engine.specs import StoreSpec, WorkerSpec
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.kept_frames import KeptFrames
from vclip_cli.video.store_format import (
    SETTINGS_FILE,
    StoreSettings,
    VideoHead,
    make_settings,
    refuse_other_settings,
    refuse_other_versions,
    store_files,
)
from vclip_cli.video.store_index import ROW, StoreIndex
from vclip_cli.video.store_packing import PackedVideo, pack_video

_LEAST_A_TASK, _MOST_A_TASK = 16, 256
_SAMPLED_AT_ONCE = 32
_FEWEST_SAMPLED = 64
_MOST_SAMPLED = 1024
_SECONDS_OF_SAMPLING = 60.0
_GOOD_ENOUGH = 0.05


@dataclass(frozen=True)
class ExtractPlan:
    """All that is decided before the first video is read."""

    request: Request
    dataset: str
    folder: Path
    settings: StoreSettings
    root: Path
    videos: list[ListedVideo]


def plan_extract(request: Request) -> ExtractPlan:
    """Resolve the dataset and the settings. Raises UsageError, or DataError without videos."""
    store, run = request.store, request.run
    if store.verify and not run.resume:
        raise UsageError("--verify and --no-resume exclude each other")
    if run.merge and (run.shard is not None or store.verify or not run.resume):
        raise UsageError("--merge joins what shards have done, and nothing else")
    dataset = open_dataset(request.data.dataset)
    root = dataset.require_videos()
    rows = dataset.manifest.rows.drop_duplicates("video")
    listed = [ListedVideo(*pair) for pair in zip(rows["video"], rows["path"], strict=True)]
    settings = make_settings(
        kept_frames(store),
        quality=store.quality,
        short_side=store.size,
        decoder=request.input.decoder,
    )
    name = dataset.config.name
    folder = run.out or default_store(name)
    return ExtractPlan(request, name, folder, settings, root, listed[: run.limit])


def kept_frames(store: StoreSpec) -> KeptFrames:
    """The frames that a store is asked to keep. Raises UsageError."""
    if store.frames == ("all",):
        if store.segments_jitter is not None or store.clips != 1:
            raise UsageError(
                "--frames all keeps every frame: --clips and --segments-jitter add none"
            )
        return KeptFrames(every=True)
    if not all(text.isdecimal() and int(text) > 0 for text in store.frames):
        found = ",".join(store.frames)
        raise UsageError(f"--frames {found!r}", expected="such as 8,16,32, or all")
    counts = tuple(sorted({int(text) for text in store.frames}))
    return KeptFrames(frames=counts, clips=store.clips, jitter=store.segments_jitter)


def size_on_disk(folder: Path) -> int:
    """The bytes of a store's files."""
    return sum(path.stat().st_size for path in store_files(folder) if path.is_file())


# What a store lacks -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A video to extract.

    changed: its file has changed; damaged: its stored frames are damaged; again: an earlier decode
    failed, and its file has not changed.
    """

    video: ListedVideo
    changed: bool = False
    damaged: bool = False
    again: bool = False


def open_tasks(
    plan: ExtractPlan, made_by: StoreSettings, index: StoreIndex, checked: Checked | None = None
) -> list[Task]:
    """What a store that was made with these settings lacks.

    If other versions made the store, videos that they could not decode are not tried again, and
    UsageError is raised if anything must be added.
    """
    found = [_what_to_do(plan.root, video, index, checked) for video in plan.videos]
    tasks = [task for task in found if task is not None]
    if made_by != plan.settings:
        tasks = [task for task in tasks if not task.again]
        if tasks:
            refuse_other_versions(plan.folder, made_by, plan.settings)
    return tasks


def _what_to_do(
    root: Path, video: ListedVideo, index: StoreIndex, checked: Checked | None
) -> Task | None:
    """Whether a video must be decoded: new, changed, damaged in the store, or a failure before.

    The frames of a video whose file is gone stay as they are.
    """
    kept = index.kept(video.video)
    if kept is None:
        return Task(video)
    source = video.source(root)
    damaged = checked is not None and kept.position in checked.damaged
    if kept.frames and source.size < 0:
        return None
    changed = (source.size, source.mtime) != (kept.source_size, kept.source_mtime)
    if kept.frames and not changed and not damaged:
        return None
    return Task(video, changed, damaged, again=not (kept.frames or changed or damaged))


def pack_all(
    videos: Sequence[ListedVideo], plan: ExtractPlan
) -> Iterator[tuple[PackedVideo, float]]:
    """Decode and compress videos in order, with the seconds that each took.

    Raises DataError when their folder has gone.
    """
    workers = plan.request.workers
    calls = call_in_workers(_pack, (plan.root, plan.settings), videos, workers)
    for video, result in zip(videos, calls, strict=True):
        if isinstance(result, FailedCall):
            head = VideoHead(video.video, failure=result.reason)
            packed = PackedVideo(head, b"", video.source(plan.root))
            yield packed, workers.video_timeout or 0.0
        else:
            yield result


def _pack(where: tuple[Path, StoreSettings], video: ListedVideo) -> tuple[PackedVideo, float]:
    root, settings = where
    began = time.perf_counter()
    packed = pack_video(video.video, video.below(root), settings)
    if packed.head.failure is not None and video.path:
        require_videos(root)
    return packed, time.perf_counter() - began


# What in a store is damaged -----------------------------------------------------------------------


@dataclass
class Checked:
    """What a check of a store found.

    clips: how many videos were checked; damaged: number of the row to what is wrong with it;
    dropped_rows: damaged rows of the index, left out; freed: bytes given back, of videos that were
    extracted again.
    """

    clips: int
    damaged: dict[int, str] = field(default_factory=dict)
    dropped_rows: int = 0
    freed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        reasons = sorted(set(self.damaged.values()))
        return {**vars(self), "damaged": len(self.damaged), "reasons": reasons}


def check_store(store: FrameStore, workers: WorkerSpec, *, progress: Progress) -> Checked:
    """Compare every video with its checksums and decode its frames. Raises DataError."""
    rows = store.index.latest()
    processes = workers.most_workers
    size = max(_LEAST_A_TASK, min(_MOST_A_TASK, len(rows) // (4 * max(processes, 1))))
    tasks = [rows[start : start + size] for start in range(0, len(rows), size)]
    checked = Checked(len(rows))
    without_time_limit = WorkerSpec(processes, None, workers.limit_memory)
    with progress("checking", len(rows)) as advance:
        calls = call_in_workers(_check_rows, store, tasks, without_time_limit)
        for found, task in zip(calls, tasks, strict=True):
            failed = isinstance(found, FailedCall)
            checked.damaged |= dict.fromkeys(task, found.reason) if failed else found
            advance(len(task))
    store.close()
    return checked


def _check_rows(store: FrameStore, rows: Sequence[int]) -> dict[int, str]:
    problems = ((row, store.check(row)) for row in rows)
    return {row: problem for row, problem in problems if problem is not None}


# How much disk a store will need ------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """What an extraction would need.

    clips: videos to extract; sampled: of these, for the estimate; needed, low, high: bytes to add,
    with a 95 % interval; there: bytes that the store has now; free: bytes on that disk; work: what
    each process would do, at the rate of the sample; checked: what `--verify` found.
    """

    folder: str
    clips: int
    sampled: int
    needed: int
    low: int
    high: int
    there: int
    free: int
    work: Workload
    checked: Checked | None = None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        checked = self.checked.as_dict() if self.checked is not None else None
        return {**asdict(self), "work": self.work.as_dict(), "checked": checked}


def estimate(
    plan: ExtractPlan,
    shard: Shard | None = None,
    rate: float | None = None,
    *,
    progress: Progress = no_progress,
) -> Estimate:
    """Compress a random sample of the videos that are left to do; nothing is written.

    shard: one shard of the work; rate: videos per second of one process, None to measure the
    sample's. The sample grows until the mean size is known to 5 %, or a minute has passed. Raises
    UsageError when the store has other settings, DataError when it is damaged.
    """
    folder, videos = plan.folder, plan.videos
    checked, there = None, 0
    if plan.request.run.resume and (folder / SETTINGS_FILE).exists():
        store = FrameStore.open(folder)
        refuse_other_settings(folder, store.settings, plan.settings)
        if plan.request.store.verify:
            checked = check_store(store, plan.request.workers, progress=progress)
        there = size_on_disk(folder)
        tasks = open_tasks(plan, store.settings, store.index, checked)
        videos = [task.video for task in tasks]
    elif plan.request.store.verify:
        raise UsageError("there is no frame store to verify", where=str(folder))
    order = np.random.default_rng(0).permutation(len(videos)).tolist()
    sizes: list[int] = []
    seconds = 0.0
    started = time.monotonic()
    with progress("sampling", min(len(videos), _FEWEST_SAMPLED)) as advance:
        while len(sizes) < len(videos) and not _enough(sizes, len(videos), started):
            chosen = [
                videos[number] for number in order[len(sizes) : len(sizes) + _SAMPLED_AT_ONCE]
            ]
            prepare_videos(plan.dataset, [video.video for video in chosen])
            for packed, took in pack_all(chosen, plan):
                seconds += took
                sizes.append(len(packed.head.packed()) + len(packed.body) + ROW.itemsize)
                advance(1)
    mean, margin = _mean(sizes, len(videos))
    if rate is None and seconds:
        rate = len(sizes) * max(plan.request.workers.most_workers, 1) / seconds
    left = {video.video for video in videos}
    divided = [one.of(plan.videos) for one in (shard or Shard()).all_shards]
    work = Workload([sum(v.video in left for v in part) for part in divided], rate)
    return Estimate(
        folder=str(folder),
        clips=len(videos),
        sampled=len(sizes),
        needed=round(mean * len(videos)),
        low=round(max(mean - margin, 0) * len(videos)),
        high=round((mean + margin) * len(videos)),
        there=there,
        free=free_bytes(folder),
        work=work,
        checked=checked,
    )


def _enough(sizes: list[int], count: int, started: float) -> bool:
    if len(sizes) < _FEWEST_SAMPLED:
        return False
    mean, margin = _mean(sizes, count)
    late = time.monotonic() - started > _SECONDS_OF_SAMPLING
    return margin < _GOOD_ENOUGH * mean or len(sizes) >= _MOST_SAMPLED or late


def _mean(sizes: list[int], count: int) -> tuple[float, float]:
    """The mean size of a video and half of its 95 % interval, drawn without replacement."""
    if not sizes:
        return 0.0, 0.0
    spread = float(np.std(sizes, ddof=1)) if len(sizes) > 1 else 0.0
    left_out = max(1 - len(sizes) / count, 0.0)
    return float(np.mean(sizes)), 1.96 * spread * (left_out / len(sizes)) ** 0.5
