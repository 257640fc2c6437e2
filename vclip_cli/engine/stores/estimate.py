"""How much disk a frame store will need, from a sample of its videos. Loads no torch."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import free_bytes
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.runs.shards import Shard, Workload
from vclip_cli.engine.stores.extract_plan import (
    Checked,
    ExtractPlan,
    check_store,
    open_tasks,
    pack_all,
    size_on_disk,
)
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.store_format import SETTINGS_FILE, refuse_other_settings
from vclip_cli.video.store_index import ROW

_A_ROUND = 32
_FEWEST = 64
_MOST = 1024
_SECONDS = 60.0
_GOOD_ENOUGH = 0.05


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

    shard: one of those that the work is divided into; rate: videos a second of one process, None
    for that of the sample. The sample grows until the mean size is known to 5 %, or a minute has
    passed. Raises UsageError when the store has other settings, DataError when it is damaged.
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
    with progress("sampling", min(len(videos), _FEWEST)) as advance:
        while len(sizes) < len(videos) and not _enough(sizes, len(videos), started):
            chosen = [videos[number] for number in order[len(sizes) : len(sizes) + _A_ROUND]]
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
    if len(sizes) < _FEWEST:
        return False
    mean, margin = _mean(sizes, count)
    late = time.monotonic() - started > _SECONDS
    return margin < _GOOD_ENOUGH * mean or len(sizes) >= _MOST or late


def _mean(sizes: list[int], count: int) -> tuple[float, float]:
    """The mean size of a video and half of its 95 % interval, drawn without replacement."""
    if not sizes:
        return 0.0, 0.0
    spread = float(np.std(sizes, ddof=1)) if len(sizes) > 1 else 0.0
    left_out = max(1 - len(sizes) / count, 0.0)
    return float(np.mean(sizes)), 1.96 * spread * (left_out / len(sizes)) ** 0.5
