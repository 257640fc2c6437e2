"""`vclip embed`: the embeddings of a dataset's videos, computed before anybody asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.files import require_writable_folder
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol import load_protocol
from vclip_cli.engine.encoding.devices import known_precision, pick_device
from vclip_cli.engine.encoding.embedding_pass import encode_batch
from vclip_cli.engine.encoding.embedding_shares import embed_shared, share_of_items
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore, embedding_store
from vclip_cli.engine.encoding.model import (
    DEFAULT_BACKBONE,
    LoadedMethod,
    load_method,
)
from vclip_cli.engine.encoding.scoring import Computing
from vclip_cli.engine.encoding.settings import protocol_views, reading_from, resolve_settings
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos
from vclip_cli.engine.loading.videos import Failure, ListedVideo, VideoReading
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.shards import Shard, own_shard
from vclip_cli.engine.runs.workload import Workload

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class EmbedPlan:
    """All that is decided before the first video is read."""

    request: Request
    dataset: str
    shard: Shard
    method: LoadedMethod
    reading: VideoReading
    computing: Computing
    store: EmbeddingStore
    root: Path
    items: list[ListedVideo]


def plan_embedding(request: Request) -> EmbedPlan:
    """Resolve names and load the weights. Raises UsageError for a method that cannot be stored."""
    dataset = open_dataset(request.data.dataset)
    root = dataset.require_videos()
    items = _items(dataset, request.data.split, request.run.limit)
    compute = request.compute
    computing = Computing(
        pick_device(compute.device),
        known_precision(compute.precision),
        compute.batch_size,
        request.workers,
    )
    method = load_method(
        request.model, default_backbone=dataset.config.backbone or DEFAULT_BACKBONE
    )
    planned = method.stated_views()
    if request.data.protocol is not None:
        planned = protocol_views(load_protocol(request.data.protocol), dataset, method)
    settings = resolve_settings(method.adapter, request.input, planned=planned)
    reading = reading_from(settings.reading, request.input.frames_from, dataset.config.name)
    method.adapter.to(computing.device)
    store = embedding_store(
        method.adapter, reading, compute.precision, computing.device.type, stores_all=True
    )
    if store is None:
        raise UsageError(
            f"nothing of what {method.adapter.name!r} computes can be stored and reused",
            hint="see the column 'cacheable' of: vclip methods --json",
        )
    return EmbedPlan(
        request=request,
        dataset=dataset.config.name,
        shard=own_shard(request.run.shard),
        method=method,
        reading=reading,
        computing=computing,
        store=store,
        root=root,
        items=items,
    )


def _items(dataset: Dataset, splits: Sequence[str] | None, limit: int | None) -> list[ListedVideo]:
    """The videos of some official splits, or all, once each, in the manifest's order."""
    rows = dataset.manifest.rows
    for name in splits or ():
        if name not in dataset.manifest.splits:
            raise UsageError(
                f"the dataset has no split {name!r}", expected=", ".join(dataset.manifest.splits)
            )
    if splits is not None:
        wanted = set(splits)
        rows = rows[[bool(wanted & set(names.split(";"))) for names in rows["splits"]]]
    rows = rows.drop_duplicates("video")
    items = [ListedVideo(v, p) for v, p in zip(rows["video"], rows["path"], strict=True)]
    return items if limit is None else items[:limit]


def left_per_process(plan: EmbedPlan) -> list[int]:
    """How many videos each process would encode: those of its share that are not stored."""
    stored = plan.store.open(plan.dataset, plan.root, plan.items)
    left = {item.video for place, item in enumerate(plan.items) if place not in stored}
    size = plan.computing.batch_size
    shares = (share_of_items(plan.items, one, size) for one in plan.shard.all_shards)
    return [sum(item.video in left for item in shard) for shard in shares]


def bytes_a_video(plan: EmbedPlan) -> int:
    """What one video's embedding takes, by encoding an empty one."""
    size, reading = plan.reading.preprocessing.size, plan.reading
    empty = torch.zeros(1, 1, reading.sampling.frames, size, size, 3, dtype=torch.uint8)
    one = encode_batch(plan.method.adapter, empty, reading, plan.computing)
    return one.nbytes * reading.views


@dataclass(frozen=True)
class EmbedOutcome:
    """What `vclip embed` did. videos: of the run; encoded: now; reused: stored before."""

    folder: Path
    key: str
    videos: int
    encoded: int
    reused: int
    failures: list[Failure]

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {**asdict(self), "folder": str(self.folder)}


def embed_plan(plan: EmbedPlan, *, progress: Progress = no_progress) -> EmbedOutcome:
    """Encode and store the videos that are not stored yet; a killed pass continues from there.

    Of several processes each does its shard, and rank 0 returns what all have done. Raises
    UsageError where the cache cannot be written, StorageError where the disk gets full, DataError
    when no video can be read.
    """
    require_writable_folder(plan.store.folder, "VCLIP_CACHE")
    if plan.reading.store is None:
        own = share_of_items(plan.items, plan.shard, plan.computing.batch_size)
        prepare_videos(plan.dataset, [item.video for item in own], progress=progress)
    done = embed_shared(
        plan.method.adapter,
        plan.root,
        plan.items,
        plan.reading,
        plan.computing,
        plan.store,
        plan.dataset,
        plan.shard,
        progress=progress,
    )
    if plan.items and len(done.failures) == len(plan.items):
        raise DataError(
            "no video of the dataset can be read",
            found=done.failures[0].reason,
            hint=f"vclip data check {plan.dataset}",
        )
    return EmbedOutcome(
        plan.store.folder,
        plan.store.key,
        len(plan.items),
        done.encoded,
        done.reused,
        done.failures,
    )


def planned_embedding(plan: EmbedPlan, rate: float | None) -> dict[str, Any]:
    """What `--dry-run` prints. rate: videos a second of one process."""
    left, each = left_per_process(plan), bytes_a_video(plan)
    return {
        "folder": str(plan.store.folder),
        "key": plan.store.key,
        **plan.store.description,
        "videos": len(plan.items),
        "stored": len(plan.items) - sum(left),
        "bytes_a_video": each,
        "bytes_to_add": each * sum(left),
        "work": Workload(left, rate).as_dict(),
    }
