"""What `vclip extract` has to do: what a store lacks, and what in it is damaged. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress
from vclip_cli.engine.loading.datasets import default_store, open_dataset, require_videos
from vclip_cli.engine.loading.videos import ListedVideo
from vclip_cli.engine.loading.workers import FailedCall, call_in_workers
from vclip_cli.engine.requests import Request
from vclip_cli.engine.specs import StoreSpec, WorkerSpec
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.kept_frames import KeptFrames
from vclip_cli.video.store_format import (
    StoreSettings,
    VideoHead,
    make_settings,
    refuse_other_versions,
    store_files,
)
from vclip_cli.video.store_index import StoreIndex
from vclip_cli.video.store_packing import PackedVideo, pack_video

_LEAST_A_TASK, _MOST_A_TASK = 16, 256


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

    changed: its file has changed; damaged: its frames in the store are damaged; again: it could not
    be decoded before, and its file has not changed.
    """

    video: ListedVideo
    changed: bool = False
    damaged: bool = False
    again: bool = False


def open_tasks(
    plan: ExtractPlan, made_by: StoreSettings, index: StoreIndex, checked: Checked | None = None
) -> list[Task]:
    """What a store that was made with these settings lacks.

    Where other versions made it, videos that these could not decode are not tried again. Raises
    UsageError where other versions made it and something must be added.
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
