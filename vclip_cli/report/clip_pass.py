"""One pass over many clips: a small strip and an embedding of each, resumable part by part.

Finished parts stay in the cache, where another report of the same clips finds them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vclip_cli import __version__
from vclip_cli.common.files import sha256_json, whole_file
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.encoding.embedding_pass import complete, left_to_encode, pool_batch
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore, StoredEmbeddings
from vclip_cli.engine.encoding.model import LoadedMethod
from vclip_cli.engine.encoding.scoring import Computing
from vclip_cli.engine.loading.videos import ListedVideo, VideoBatch, VideoReading, video_batches
from vclip_cli.engine.runs.parts import part_size
from vclip_cli.models.contract import Adapter
from vclip_cli.report.material import Strip
from vclip_cli.report.strips import SMALL, make_strip
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.preprocess import normalise

FRAMES = 4


@dataclass(eq=False)
class ClipPass:
    """By video, as far as they could be read: strips, vectors (E,), and the reasons of the rest."""

    strips: dict[str, Strip] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, other: ClipPass) -> None:
        """Take in another part."""
        self.strips |= other.strips
        self.vectors |= other.vectors
        self.failures |= other.failures


def pass_over_clips(
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    method: LoadedMethod | None,
    *,
    strip_bytes: int | None,
    store: EmbeddingStore | None = None,
    dataset: str = "",
    progress: Progress = no_progress,
    description: str = "reading clips",
) -> ClipPass:
    """Read every clip once, or not at all where it is only to be embedded and `store` has that.

    method: embeds them, None for none; strip_bytes: None for no strips; dataset: the clips' own.
    """
    parts = _parts_folder(root, items, reading, computing, method, strip_bytes)
    size = part_size(computing.batch_size)
    result = ClipPass()
    starts = range(0, len(items), size)
    finished = {start: part for start in starts if (part := _read_part(parts, start)) is not None}
    done = sum(min(size, len(items) - start) for start in finished)
    batches = [
        range(first, min(first + computing.batch_size, start + size, len(items)))
        for start in starts
        if start not in finished
        for first in range(start, min(start + size, len(items)), computing.batch_size)
    ]
    growing = ClipPass()
    stored = None
    if store is not None and method is not None and batches:
        stored = store.open(dataset, root, items)
    unseen = stored is not None and strip_bytes is None
    wanted = left_to_encode(batches, stored) if unseen else batches
    with progress(description, len(items), done) as advance:
        read = video_batches(root, items, reading, wanted, guard=computing.guard)
        for positions, batch in zip(batches, read, strict=True):
            videos = [items[position].video for position in batch.positions]
            if batch.frames is not None and strip_bytes is not None:
                for video, views in zip(videos, batch.frames.numpy(), strict=True):
                    growing.strips[video] = make_strip(views[0], FRAMES, SMALL, strip_bytes)
            if method is not None:
                growing.vectors |= _vectors(
                    method.adapter, items, positions, batch, reading, computing, stored
                )
            growing.failures |= {failure.video: failure.reason for failure in batch.failures}
            if positions.stop % size == 0 or positions.stop == len(items):
                start = (positions.stop - 1) // size * size
                if stored is not None:
                    stored.flush()
                _write_part(parts, start, growing)
                finished[start] = growing
                growing = ClipPass()
            advance(len(positions))
    for start in starts:
        result.add(finished[start])
    return result


def _vectors(
    adapter: Adapter,
    items: Sequence[ListedVideo],
    positions: Sequence[int],
    batch: VideoBatch,
    reading: VideoReading,
    computing: Computing,
    stored: StoredEmbeddings | None,
) -> dict[str, np.ndarray]:
    """The vector (E,) of each video of a batch, by id; of what is stored nothing is encoded."""
    if stored is None:
        if batch.frames is None:
            return {}
        clips = normalise(batch.frames.to(computing.device).flatten(0, 1), reading.preprocessing)
        with torch.inference_mode():
            vectors = embed(adapter, adapter.encode_video(clips), reading.views)
        read = batch.positions
    else:
        fresh = [place for place, p in enumerate(batch.positions) if p not in stored]
        left = replace(
            batch,
            positions=[batch.positions[place] for place in fresh],
            frames=batch.frames[fresh] if batch.frames is not None and fresh else None,
        )
        joined, values = complete(adapter, positions, left, reading, computing, stored)
        if values is None:
            return {}
        vectors = embed(adapter, pool_batch(adapter, values, computing), reading.views)
        read = joined.positions
    return dict(zip([items[position].video for position in read], vectors, strict=True))


@torch.inference_mode()
def embed(adapter: Adapter, encoded: Any, views: int) -> np.ndarray:
    """What `encode_video` gave of B·V views to one vector a video (B,E): the mean over views, each
    of unit length. Raises UsageError where the method has no such vector."""
    vectors = torch.nn.functional.normalize(adapter.embedding(encoded).float(), dim=-1)
    return vectors.unflatten(0, (-1, views)).mean(dim=1).cpu().numpy()


def _parts_folder(
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    method: LoadedMethod | None,
    strip_bytes: int | None,
) -> Path:
    """A folder of the cache named after everything that decides what a pass gives."""
    identity = {
        "vclip": __version__,
        "model": None if method is None else method.describe(),
        "reading": {
            "sampling": reading.sampling.as_dict(),
            "preprocessing": reading.preprocessing.as_dict(),
            "crops": reading.crops,
            "decoder": describe_decoder(reading.decoder),
        },
        "device": computing.device.type,
        "batch_size": computing.batch_size,
        "strips": [strip_bytes, FRAMES, SMALL],
        "items": [[*asdict(item).values(), *_stamp(root / item.path)] for item in items],
    }
    return cache_folder() / "report" / sha256_json(identity)[:32]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _write_part(parts: Path, start: int, part: ClipPass) -> None:
    from safetensors.numpy import save_file

    facts = {
        "strips": [
            [video, len(strip.data), list(strip.indices)] for video, strip in part.strips.items()
        ],
        "vectors": list(part.vectors),
        "failures": part.failures,
    }
    joined = b"".join(strip.data for strip in part.strips.values())
    tensors = {"strips": np.frombuffer(joined, np.uint8)}
    if part.vectors:
        tensors["vectors"] = np.stack(list(part.vectors.values())).astype(np.float32)
    with whole_file(_part_path(parts, start)) as temporary:
        save_file(tensors, temporary, metadata={"facts": json.dumps(facts)})


def _read_part(parts: Path, start: int) -> ClipPass | None:
    """A part that an earlier pass left; None where there is none, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = _part_path(parts, start)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            facts = json.loads(stream.metadata()["facts"])
            joined = stream.get_tensor("strips").tobytes()
            vectors = stream.get_tensor("vectors") if facts["vectors"] else ()
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None  # it is made again, and replaced
    part = ClipPass(failures=facts["failures"])
    position = 0
    for video, length, indices in facts["strips"]:
        part.strips[video] = Strip(joined[position : position + length], tuple(indices))
        position += length
    part.vectors = dict(zip(facts["vectors"], vectors, strict=True))
    return part


def _part_path(parts: Path, start: int) -> Path:
    return parts / f"{start:08d}.safetensors"
