"""`vclip extract`: the frames of a dataset's clips, decoded once and kept as JPEGs. No torch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.files import require_writable_folder
from vclip_cli.common.locks import folder_lock
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos
from vclip_cli.engine.loading.frame_source import default_store, require_videos
from vclip_cli.engine.loading.workers import Lost, guarded_calls
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.run_log import open_run_log
from vclip_cli.engine.specs import StoreSpec
from vclip_cli.engine.stores.checks import Checked, check_store
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.kept_frames import KeptFrames
from vclip_cli.video.store_format import (
    StoreSettings,
    VideoHead,
    make_settings,
    refuse_other_versions,
    remove_store,
    store_files,
)
from vclip_cli.video.store_index import StoreIndex
from vclip_cli.video.store_packing import PackedVideo, SourceFile, pack_video
from vclip_cli.video.store_writer import StoreWriter, drop_dead_bytes


@dataclass(frozen=True)
class SourceVideo:
    """A video of the dataset; path: None where it is not on disk."""

    video: str
    path: Path | None


@dataclass(frozen=True)
class ExtractPlan:
    """What is decided before the first video is read."""

    request: Request
    dataset: str
    folder: Path
    settings: StoreSettings
    root: Path
    videos: list[SourceVideo]


@dataclass(frozen=True)
class Extracted:
    """A store after a run.

    listed: videos of the run; stored: of these, with frames; written: in this run; changed: of
    these, because their files had changed; damaged_sources: stored clips with signs of damage in
    the video; failures: video and reason; checked: what `--verify` found; size: bytes on disk.
    """

    dataset: str
    folder: Path
    listed: int
    stored: int
    written: int
    changed: int
    damaged_sources: int
    failures: list[tuple[str, str]]
    size: int
    settings: dict[str, Any]
    checked: Checked | None = None

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {
            **{name: getattr(self, name) for name in ("dataset", "listed", "stored", "written")},
            "folder": str(self.folder),
            "changed": self.changed,
            "damaged_sources": self.damaged_sources,
            "failed": len(self.failures),
            "failures": [{"video": video, "reason": reason} for video, reason in self.failures],
            "bytes": self.size,
            "frames": self.settings,
            "checked": self.checked.as_dict() if self.checked is not None else None,
        }


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
    listed = [
        SourceVideo(video, root / path if path else None)
        for video, path in zip(rows["video"], rows["path"], strict=True)
    ]
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


def extract(plan: ExtractPlan, *, progress: Progress = no_progress) -> Extracted:
    """Extract what the store lacks; a killed run goes on to the bytes of an undisturbed one.

    Waits while another process works on the store. Raises UsageError when it has other settings,
    DataError when no video at all could be decoded, StorageError when the disk is full.
    """
    return outcome(plan, *fill_store(plan, progress=progress))


def fill_store(
    plan: ExtractPlan, *, progress: Progress = no_progress
) -> tuple[int, int, Checked | None]:
    """Extract what the store lacks; gives how many clips were written, how many of these because
    their files had changed, and what a check found. Raises what `extract` raises."""
    request = plan.request
    require_writable_folder(plan.folder)
    with (
        folder_lock(plan.folder, "extracting into"),
        open_run_log(plan.folder, "extract", total=len(plan.videos)) as log,
    ):
        prepare_videos(plan.dataset, [video.video for video in plan.videos], progress=progress)
        if not request.run.resume:
            remove_store(plan.folder)
        with StoreWriter(plan.folder, plan.dataset, plan.settings) as writer:
            index = writer.open(repair=request.store.verify)
            checked = None
            if request.store.verify:
                store = FrameStore(plan.folder, plan.dataset, plan.settings)
                checked = check_store(store, guard=request.workers, progress=progress)
                checked.dropped_rows = writer.dropped_rows
            tasks = open_tasks(plan, writer.made_by, index, checked)
            done = len(plan.videos) - len(tasks)
            written = changed = failed = 0
            with progress("extracting", len(plan.videos), done) as advance:
                packed = pack_all([task.video for task in tasks], plan)
                for task, (clip, _) in zip(tasks, packed, strict=True):
                    fresh = writer.add(clip, trust=not task.damaged)
                    sound = clip.head.failure is None
                    written += fresh and sound
                    changed += fresh and sound and task.changed
                    if not sound:
                        failed += 1
                        text = f"{clip.head.video!r} cannot be read: {clip.head.failure}"
                        log.note("warning", text=text)
                    advance(1)
            log.note("extracted", done=done + written, failed=failed)
        if checked is not None:
            checked.freed = drop_dead_bytes(plan.folder)
    return written, changed, checked


@dataclass(frozen=True)
class Task:
    """A video to extract. changed: its file is another than before; damaged: its bytes are; again:
    it could not be decoded before, and is the same file."""

    video: SourceVideo
    changed: bool = False
    damaged: bool = False
    again: bool = False


def open_tasks(
    plan: ExtractPlan, made_by: StoreSettings, index: StoreIndex, checked: Checked | None = None
) -> list[Task]:
    """What a store that was made with these settings lacks.

    Raises UsageError where other versions made it and something must be added; what those could not
    decode is not tried again.
    """
    tasks = [task for v in plan.videos if (task := what_to_do(v, index, checked)) is not None]
    if made_by != plan.settings:
        tasks = [task for task in tasks if not task.again]
        if tasks:
            refuse_other_versions(plan.folder, made_by, plan.settings)
    return tasks


def what_to_do(video: SourceVideo, index: StoreIndex, checked: Checked | None) -> Task | None:
    """Whether a video must be decoded: new, changed, damaged in the store, or a failure before.

    The frames of a video whose file is gone stay as they are.
    """
    kept = index.kept(video.video)
    if kept is None:
        return Task(video)
    source = SourceFile.of(video.path) if video.path is not None else SourceFile()
    damaged = checked is not None and kept.position in checked.damaged
    if kept.frames and source.size < 0:
        return None
    changed = (source.size, source.mtime) != (kept.source_size, kept.source_mtime)
    if kept.frames and not changed and not damaged:
        return None
    return Task(video, changed, damaged, again=not (kept.frames or changed or damaged))


def pack_all(
    videos: Sequence[SourceVideo], plan: ExtractPlan
) -> Iterator[tuple[PackedVideo, float]]:
    """Decode and compress videos in order, with the seconds that each took.

    Raises DataError when their folder has gone.
    """
    guard = plan.request.workers
    calls = guarded_calls(_pack, (plan.root, plan.settings), videos, guard)
    for listed, result in zip(videos, calls, strict=True):
        lost = isinstance(result, Lost)
        yield (_lost(listed, result), guard.video_timeout or 0.0) if lost else result


def _pack(where: tuple[Path, StoreSettings], listed: SourceVideo) -> tuple[PackedVideo, float]:
    root, settings = where
    began = time.perf_counter()
    packed = pack_video(listed.video, listed.path, settings)
    if packed.head.failure is not None and listed.path is not None:
        require_videos(root)
    return packed, time.perf_counter() - began


def _lost(listed: SourceVideo, lost: Lost) -> PackedVideo:
    source = SourceFile.of(listed.path) if listed.path is not None else SourceFile()
    return PackedVideo(VideoHead(listed.video, failure=lost.reason), b"", source)


def outcome(plan: ExtractPlan, written: int, changed: int, checked: Checked | None) -> Extracted:
    """What there is after a run. Raises DataError when no video at all could be decoded."""
    store = FrameStore.open(plan.folder)
    index = store.index
    failures = []
    stored = damaged = 0
    for video in plan.videos:
        position = index.position(video.video)
        assert position is not None  # each was kept or has been written
        if index.rows[position]["frames"]:
            stored += 1
            damaged += bool(index.rows[position]["damage"])
        else:
            failures.append((video.video, store.head(position, video.video).failure or ""))
    if not stored:
        raise DataError(
            f"none of the {len(plan.videos):,} listed videos could be extracted",
            where=str(plan.folder),
            found=failures[0][1] if failures else None,
            hint=f"vclip data check {plan.dataset}",
        )
    return Extracted(
        dataset=plan.dataset,
        folder=plan.folder,
        listed=len(plan.videos),
        stored=stored,
        written=written,
        changed=changed,
        damaged_sources=damaged,
        failures=failures,
        size=size_on_disk(plan.folder),
        settings=store.describe(),
        checked=checked,
    )


def size_on_disk(folder: Path) -> int:
    """The bytes of a store's files."""
    return sum(path.stat().st_size for path in store_files(folder) if path.is_file())
