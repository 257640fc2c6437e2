"""Extraction by several processes or shards: each fills a store of its own, and one joins them.

Joined in the order of the dataset, they give the bytes of a store that one process made.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import require_writable_folder, write_json
from vclip_cli.common.locks import folder_lock
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.runs.shards import Shard, wait_until
from vclip_cli.engine.stores.extract import (
    Extracted,
    ExtractPlan,
    SourceVideo,
    extract,
    fill_store,
    open_tasks,
    outcome,
)
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.store_format import (
    SETTINGS_FILE,
    StoreSettings,
    read_settings,
    refuse_other_settings,
    refuse_other_versions,
)
from vclip_cli.video.store_index import StoreIndex, load_index
from vclip_cli.video.store_writer import StoreWriter

DONE_FILE = "done.json"


def extract_share(
    plan: ExtractPlan, shard: Shard, *, progress: Progress = no_progress
) -> Extracted | None:
    """Extract this process's share; the leading process of a launch waits and joins them all.

    None for a process that only does a shard. Raises what `extract` raises.
    """
    if shard.count == 1 and not shard.manual:
        return extract(plan, progress=progress)
    require_writable_folder(plan.folder)
    own = _own_plan(plan, shard)
    done = own.folder / DONE_FILE
    done.unlink(missing_ok=True)
    fill_store(own, progress=progress)
    write_json(done, {"shard": shard.index + 1, "of": shard.count, "videos": len(own.videos)})
    if not shard.is_main:
        return None
    for index in range(shard.count):
        folder = shard_folder(plan.folder, Shard(index, shard.count))
        wait_until((folder / DONE_FILE).is_file)
    return merge_shards(plan, progress=progress)


def shard_folder(folder: Path, shard: Shard) -> Path:
    """Where a shard's own store lies: below the folder that all are joined in."""
    return folder / f"shard-{shard.index + 1}-of-{shard.count}"


def _own_plan(plan: ExtractPlan, shard: Shard) -> ExtractPlan:
    """The videos of a share that the joined store lacks, into the share's own store."""
    made_by, index = _there(plan)
    tasks = open_tasks(replace(plan, videos=shard.of(plan.videos)), made_by, index)
    own = [task.video for task in tasks]
    return replace(plan, folder=shard_folder(plan.folder, shard), videos=own)


def _there(plan: ExtractPlan) -> tuple[StoreSettings, StoreIndex]:
    """The settings and the index of the joined store, as far as there is one."""
    folder = plan.folder
    if (folder / SETTINGS_FILE).exists():
        return read_settings(folder)[1], load_index(folder)
    return plan.settings, StoreIndex.empty()


def merge_shards(plan: ExtractPlan, *, progress: Progress = no_progress) -> Extracted:
    """Join the shards that lie below the store's folder, and remove them.

    Raises DataError when a shard is missing or shards of different divisions lie there.
    """
    folder = plan.folder
    stores = _finished_shards(folder)
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
                    store = _store_of(video, stores, index)
                    if store is not None:
                        written += writer.add(store.packed(video.video))
                    advance(1)
        for store in stores:
            store.close()
            shutil.rmtree(store.folder)
    return outcome(plan, written, 0, None)


def _store_of(video: SourceVideo, stores: list[FrameStore], index: StoreIndex) -> FrameStore | None:
    for store in stores:
        if store.index.position(video.video) is not None:
            return store
    if index.position(video.video) is not None:
        return None
    raise DataError(
        f"no shard holds the video {video.video!r}",
        hint="run every shard again with the same options: what is done is not done again",
    )


def _finished_shards(folder: Path) -> list[FrameStore]:
    found = [json.loads(p.read_text("utf-8")) for p in sorted(folder.glob(f"shard-*/{DONE_FILE}"))]
    counts = sorted({marker["of"] for marker in found})
    if len(counts) != 1:
        raise DataError(
            "shards of different divisions overlap" if counts else "there are no shards to join",
            where=str(folder),
            found=" and ".join(f"shards of {count}" for count in counts) or None,
            hint="run every shard with one number of shards: --shard 1/N … --shard N/N",
        )
    there = {marker["shard"] for marker in found}
    missing = [f"{i}/{counts[0]}" for i in range(1, counts[0] + 1) if i not in there]
    if missing:
        raise DataError(
            "not all shards are there to be joined",
            where=str(folder),
            found=f"{len(there)} of {counts[0]}",
            expected=f"also --shard {', '.join(missing)}",
        )
    shares = (Shard(index, counts[0]) for index in range(counts[0]))
    return [FrameStore.open(shard_folder(folder, shard)) for shard in shares]
