"""`vclip extract`: the frames of a dataset's videos, decoded once and kept as JPEGs. No torch.

Several processes or shards may share the work. Each fills its own store. One process then joins
them in dataset order, to the same bytes as a single process.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import folder_lock, require_writable_folder, write_json
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.runs.run_log import open_run_log
from vclip_cli.engine.runs.shards import Shard, require_all_shards, wait_until
from vclip_cli.engine.stores.extract_plan import (
    Checked,
    ExtractPlan,
    check_store,
    open_tasks,
    pack_all,
    size_on_disk,
)
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.store_format import (
    SETTINGS_FILE,
    read_settings,
    refuse_other_settings,
    refuse_other_versions,
    remove_store,
)
from vclip_cli.video.store_index import StoreIndex, load_index
from vclip_cli.video.store_writer import StoreWriter, drop_dead_bytes

DONE_FILE = "done.json"


@dataclass(frozen=True)
class Extracted:
    """A store after a run.

    listed: videos of the run; stored: those with frames; written: those written in this run;
    changed: those written because their files changed; damaged_sources: stored videos with damage;
    failures: video and reason; checked: what `--verify` found; size: bytes on disk.
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


def extract(plan: ExtractPlan, *, progress: Progress = no_progress) -> Extracted:
    """Extract what the store lacks; a killed run continues, and ends with the same bytes.

    Waits while another process works on the store. Raises UsageError when it has other settings,
    DataError when no video at all could be decoded, StorageError when the disk is full.
    """
    return _outcome(plan, *_fill_store(plan, progress=progress))


def _fill_store(
    plan: ExtractPlan, *, progress: Progress = no_progress
) -> tuple[int, int, Checked | None]:
    """Extract the missing videos. Returns how many videos were written, how many of them had
    changed files, and the result of a check. Raises what `extract` raises."""
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
                checked = check_store(store, request.workers, progress=progress)
                checked.dropped_rows = writer.dropped_rows
            tasks = open_tasks(plan, writer.made_by, index, checked)
            done = len(plan.videos) - len(tasks)
            written = changed = failed = 0
            with progress("extracting", len(plan.videos), done) as advance:
                results = pack_all([task.video for task in tasks], plan)
                for task, (packed, _) in zip(tasks, results, strict=True):
                    fresh = writer.add(packed, trust=not task.damaged)
                    sound = packed.head.failure is None
                    written += fresh and sound
                    changed += fresh and sound and task.changed
                    if not sound:
                        failed += 1
                        text = f"{packed.head.video!r} cannot be read: {packed.head.failure}"
                        log.note("warning", text=text)
                    advance(1)
            log.note("extracted", done=done + written, failed=failed)
        if checked is not None:
            checked.freed = drop_dead_bytes(plan.folder)
    return written, changed, checked


def _outcome(plan: ExtractPlan, written: int, changed: int, checked: Checked | None) -> Extracted:
    """The store after a run. Raises DataError when no video at all could be decoded."""
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


# Several processes --------------------------------------------------------------------------------


def extract_shard(
    plan: ExtractPlan, shard: Shard, *, progress: Progress = no_progress
) -> Extracted | None:
    """Extract this process's shard; rank 0 of a launch waits for the others and joins them all.

    None for a process that only does a shard. Raises what `extract` raises.
    """
    if shard.count == 1 and not shard.manual:
        return extract(plan, progress=progress)
    require_writable_folder(plan.folder)
    made_by, index = plan.settings, StoreIndex.empty()
    if (plan.folder / SETTINGS_FILE).exists():
        made_by, index = read_settings(plan.folder)[1], load_index(plan.folder)
    tasks = open_tasks(replace(plan, videos=shard.of(plan.videos)), made_by, index)
    videos = [task.video for task in tasks]
    own = replace(plan, folder=shard_folder(plan.folder, shard), videos=videos)
    done = own.folder / DONE_FILE
    done.unlink(missing_ok=True)
    _fill_store(own, progress=progress)
    write_json(done, {"shard": shard.index + 1, "of": shard.count, "videos": len(own.videos)})
    if not shard.is_main:
        return None
    for other in shard.all_shards:
        wait_until((shard_folder(plan.folder, other) / DONE_FILE).is_file)
    return merge_shards(plan, progress=progress)


def shard_folder(folder: Path, shard: Shard) -> Path:
    """The folder of a shard's own store, below that of the joined store."""
    return folder / f"shard-{shard}"


def merge_shards(plan: ExtractPlan, *, progress: Progress = no_progress) -> Extracted:
    """Join the shards that lie below the store's folder, and remove them.

    Raises DataError when a shard is missing or shards of different divisions lie there.
    """
    folder = plan.folder
    count = require_all_shards(folder, f"shard-*/{DONE_FILE}")
    shards = Shard(count=count).all_shards
    stores = [FrameStore.open(shard_folder(folder, shard)) for shard in shards]
    settings = stores[0].settings
    for store in stores:
        refuse_other_settings(store.folder, store.settings, plan.settings)
        refuse_other_versions(store.folder, store.settings, settings)
    written = 0
    with folder_lock(folder, "extracting into"):
        with StoreWriter(folder, plan.dataset, settings) as writer:
            index = writer.open()
            with progress("joining", len(plan.videos)) as advance:
                for video in plan.videos:
                    name = video.video
                    holders = (s for s in stores if s.index.position(name) is not None)
                    if (holder := next(holders, None)) is not None:
                        written += writer.add(holder.packed(name))
                    elif index.position(name) is None:
                        raise DataError(
                            f"no shard holds the video {name!r}",
                            hint="run every shard again with the same options: what is done is not"
                            " done again",
                        )
                    advance(1)
        for store in stores:
            store.close()
            shutil.rmtree(store.folder)
    return _outcome(plan, written, 0, None)
