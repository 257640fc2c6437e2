"""Encoding that reads from, and adds to, the stored embeddings.

Shapes: B batch, V views; what follows is the adapter's: (T,E) for `frame`, its own for `video`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vclip_cli.engine.encoding.devices import autocast, one_thread
from vclip_cli.engine.encoding.embedding_store import StoredEmbeddings
from vclip_cli.engine.loading.prefetch import prefetched
from vclip_cli.engine.loading.videos import ListedVideo, VideoBatch, VideoReading, video_batches
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import to_device
from vclip_cli.video.preprocess import normalise

if TYPE_CHECKING:
    from vclip_cli.engine.encoding.scoring import Computing, PerLabel


def left_to_encode(batches: Sequence[Sequence[int]], stored: StoredEmbeddings) -> list[list[int]]:
    """The positions of each batch that are not stored; only these videos are decoded."""
    return [[position for position in batch if position not in stored] for batch in batches]


def complete(
    adapter: Adapter,
    positions: Sequence[int],
    batch: VideoBatch,
    reading: VideoReading,
    computing: Computing,
    stored: StoredEmbeddings,
) -> tuple[VideoBatch, np.ndarray | None]:
    """Join what was decoded of a batch with what is stored of it, in the order of `positions`.

    Gives the batch without its frames, and float32 embeddings (B,V,…), None when all failed. What
    was encoded is added to the store.
    """
    found: dict[int, np.ndarray] = {}
    if batch.frames is not None:
        values = encode_batch(adapter, batch.frames, reading, computing)
        stored.add(batch.positions, values, batch.damage)
        found.update(zip(batch.positions, values, strict=True))
    failed = {failure.video for failure in batch.failures}
    there = [p for p in positions if p not in found and stored.items[p].video not in failed]
    damage = dict(batch.damage)
    if there:
        found.update(zip(there, stored.read(there), strict=True))
        damage |= stored.damage(there)
    order = [position for position in positions if position in found]
    joined = replace(batch, positions=order, frames=None, damage=damage)
    return joined, np.stack([found[position] for position in order]) if order else None


@torch.inference_mode()
def encode_batch(
    adapter: Adapter, frames: torch.Tensor, reading: VideoReading, computing: Computing
) -> np.ndarray:
    """Frames uint8 (B,V,T,S,S,3) to what the adapter's `cacheable` names, float32 (B,V,…)."""
    frames = to_device(frames, computing.device)
    clips = normalise(frames.flatten(0, 1), reading.preprocessing)
    with autocast(computing.device, computing.precision):
        encode: Any = (
            adapter.encode_frames if adapter.cacheable == "frame" else adapter.encode_video
        )
        values = encode(clips).float()
    return values.unflatten(0, frames.shape[:2]).cpu().numpy()


@torch.inference_mode()
def pool_batch(adapter: Adapter, values: np.ndarray, computing: Computing) -> torch.Tensor:
    """Embeddings (B,V,…) to the adapter's video representation, (B·V, …) on the device."""
    flat = to_device(torch.from_numpy(values), computing.device).flatten(0, 1)
    with autocast(computing.device, computing.precision):
        return adapter.pool_frames(flat) if adapter.cacheable == "frame" else flat


@torch.inference_mode()
def score_embeddings(
    adapter: Adapter,
    text: Any,
    values: np.ndarray,
    computing: Computing,
    per_label: PerLabel | None = None,
) -> torch.Tensor:
    """Embeddings (B,V,…) to scores float32 (B,K), as `score_batch` gives them for frames."""
    small = adapter.cacheable == "frame"  # what is left to do is a mean and a product
    with one_thread() if small else nullcontext():
        video = pool_batch(adapter, values, computing)
        with autocast(computing.device, computing.precision):
            logits = adapter.score(video, text).float()
        per_view = logits.softmax(dim=-1) if per_label is None else per_label(logits)
        return per_view.unflatten(0, values.shape[:2]).mean(dim=1).float()


def embedded_batches(
    adapter: Adapter,
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    stored: StoredEmbeddings | None,
    *,
    flush_every: int = 64,
) -> Iterator[tuple[VideoBatch, np.ndarray | None]]:
    """Every item's embedding, batch by batch in order, written as the pass goes."""
    size = computing.batch_size
    batches = [range(s, min(s + size, len(items))) for s in range(0, len(items), size)]
    wanted = batches if stored is None else left_to_encode(batches, stored)
    loader = video_batches(
        root,
        items,
        reading,
        wanted,
        guard=computing.guard,
        pin_memory=computing.device.type == "cuda",
    )
    if computing.device.type == "cuda":
        loader = prefetched(loader)
    fresh = 0
    for positions, left, batch in zip(batches, wanted, loader, strict=True):
        if stored is None:
            none = batch.frames is None
            yield batch, None if none else encode_batch(adapter, batch.frames, reading, computing)
            continue
        yield complete(adapter, positions, batch, reading, computing, stored)
        fresh += len(left)
        if fresh >= flush_every:
            stored.flush()
            fresh = 0
    if stored is not None:
        stored.flush()
