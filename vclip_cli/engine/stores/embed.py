"""`vclip embed`: compute a dataset's embeddings before the runs that use them."""

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
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore, embedding_store
from vclip_cli.engine.encoding.encoder import Encoder, resolve_compute
from vclip_cli.engine.encoding.model import load_method
from vclip_cli.engine.encoding.passes import embed_videos
from vclip_cli.engine.encoding.settings import protocol_views, reading_from, resolve_settings
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.parts import Division, FailedVideo
from vclip_cli.engine.runs.shards import Shard, Workload, own_shard

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class EmbedPlan:
    """All that is decided before the first video is read."""

    shard: Shard
    encoder: Encoder
    store: EmbeddingStore
    videos: VideoSet


def plan_embedding(request: Request) -> EmbedPlan:
    """Resolve names and load the weights. Raises UsageError for a method that cannot be stored."""
    dataset = open_dataset(request.data.dataset)
    root = dataset.require_videos()
    items = _items(dataset, request.data.split, request.run.limit)
    compute = resolve_compute(request.compute)
    method = load_method(request.model, default_backbone=dataset.config.backbone)
    planned = method.stated_views()
    if request.data.protocol is not None:
        planned = protocol_views(load_protocol(request.data.protocol), dataset, method)
    settings = resolve_settings(method.adapter, request.input, planned=planned)
    reading = reading_from(settings.reading, dataset.config.name)
    encoder = Encoder(method.adapter, compute, request.workers)
    store = embedding_store(encoder, reading, stores_all=True)
    if store is None:
        raise UsageError(
            f"nothing of what {method.adapter.name!r} computes can be stored and reused",
            hint="see the column 'cacheable' of: vclip methods --json",
        )
    videos = VideoSet(root, items, reading, dataset.config.name)
    return EmbedPlan(own_shard(request.run.shard), encoder, store, videos)


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


@dataclass(frozen=True)
class EmbedOutcome:
    """The counts of `vclip embed`. videos: in all; encoded: newly; reused: stored before."""

    folder: Path
    key: str
    videos: int
    encoded: int
    reused: int
    failures: list[FailedVideo]

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {**asdict(self), "folder": str(self.folder)}


def embed_plan(plan: EmbedPlan, *, progress: Progress = no_progress) -> EmbedOutcome:
    """Encode and store the videos that are not stored yet; a killed pass continues from there.

    Of several processes each does its shard, and rank 0 returns what all have done. Raises
    UsageError where the cache cannot be written, StorageError where the disk gets full, DataError
    when no video can be read.
    """
    store, count = plan.store, len(plan.videos)
    require_writable_folder(store.folder, "VCLIP_CACHE")
    plan.encoder.adapter.to(plan.encoder.device)
    done = embed_videos(plan.encoder, plan.videos, store, plan.shard, progress=progress)
    if count and len(done.failures) == count:
        raise DataError(
            "no video of the dataset can be read",
            found=done.failures[0].reason,
            hint=f"vclip data check {plan.videos.dataset}",
        )
    return EmbedOutcome(store.folder, store.key, count, **vars(done))


def planned_embedding(plan: EmbedPlan, rate: float | None) -> dict[str, Any]:
    """The output of `--dry-run`. rate: videos per second of one process."""
    reading, size = plan.videos.reading, plan.videos.reading.preprocessing.size
    empty = torch.zeros(1, 1, reading.sampling.frames, size, size, 3, dtype=torch.uint8)
    plan.encoder.adapter.to(plan.encoder.device)
    each = plan.encoder.embed(empty, reading.preprocessing).nbytes * reading.views
    count, stored = len(plan.videos), plan.store.open(plan.videos)
    division = Division(count, plan.encoder.compute.batch_size)
    shards = [division.positions_of(shard) for shard in plan.shard.all_shards]
    left = [sum(position not in stored for position in positions) for positions in shards]
    return {
        "folder": str(plan.store.folder),
        "key": plan.store.key,
        **plan.store.description,
        "videos": count,
        "stored": count - sum(left),
        "bytes_a_video": each,
        "bytes_to_add": each * sum(left),
        "work": Workload(left, rate).as_dict(),
    }
