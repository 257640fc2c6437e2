"""One pass over many videos: a small strip and an embedding of each, resumable part by part.

Finished parts stay in the cache for later reports of the same videos.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from vclip_cli import __version__
from vclip_cli.common.files import sha256_json, write_tensors
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.encoding.model import LoadedMethod
from vclip_cli.engine.encoding.passes import EncodedBatch, encoded_batches
from vclip_cli.engine.loading.videos import VideoBatch, VideoSet, video_batches
from vclip_cli.engine.runs.parts import Division, part_path
from vclip_cli.engine.specs import ComputeSpec, WorkerSpec
from vclip_cli.report.material import SMALL, Strip, make_strip
from vclip_cli.video.decoders import describe_decoder

FRAMES = 4


@dataclass(eq=False)
class VideoPass:
    """By video: strips and vectors (E,); failures: why a video could not be read."""

    strips: dict[str, Strip] = field(default_factory=dict)
    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, other: VideoPass) -> None:
        """Add the videos of another part."""
        self.strips |= other.strips
        self.vectors |= other.vectors
        self.failures |= other.failures


def pass_over_videos(
    videos: VideoSet,
    method: LoadedMethod | None,
    compute: ComputeSpec,
    workers: WorkerSpec,
    *,
    strip_bytes: int | None,
    store: EmbeddingStore | None = None,
    progress: Progress = no_progress,
    description: str = "reading videos",
) -> VideoPass:
    """Read every video once; videos whose embeddings are in `store` are not read for these.

    method: embeds the videos, None for no embeddings; strip_bytes: None for no strips.
    """
    folder = _parts_folder(videos, method, compute, strip_bytes)
    division = Division(len(videos), compute.batch_size)
    starts = division.starts
    finished = {start: part for start in starts if (part := _read_part(folder, start)) is not None}
    done = sum(len(division.part(start)) for start in finished)
    left = [start for start in starts if start not in finished]
    encoder, batches = None, video_batches(videos, division.batches(left), workers)
    if method is not None:
        encoder = Encoder(method.adapter, compute, workers)
        stored = store.open(videos) if store is not None and left else None
        frames = strip_bytes is not None
        batches = encoded_batches(encoder, videos, division, left, stored=stored, read_all=frames)
    with progress(description, len(videos), done) as advance:

        def parts() -> Iterator[VideoPass]:
            for batch in batches:
                yield _part_of(videos, encoder, batch, strip_bytes)
                advance(len(batch.positions) + len(batch.failures))

        for start, found in division.by_part(left, parts()):
            finished[start] = _joined(found)
            _write_part(folder, start, finished[start])
    return _joined([finished[start] for start in starts])


def _part_of(
    videos: VideoSet, encoder: Encoder | None, batch: VideoBatch, strip_bytes: int | None
) -> VideoPass:
    names = [videos.videos[position].video for position in batch.positions]
    part = VideoPass(failures={failure.video: failure.reason for failure in batch.failures})
    if batch.frames is not None and strip_bytes is not None:
        for video, views in zip(names, batch.frames.numpy(), strict=True):
            part.strips[video] = make_strip(views[0], FRAMES, SMALL, strip_bytes)
    if encoder is not None and isinstance(batch, EncodedBatch) and batch.encoded is not None:
        vectors = encoder.vectors(batch.encoded, videos.reading.views).cpu().numpy()
        part.vectors = dict(zip(names, vectors, strict=True))
    return part


def _joined(parts: Sequence[VideoPass]) -> VideoPass:
    joined = VideoPass()
    for part in parts:
        joined.add(part)
    return joined


def _parts_folder(
    videos: VideoSet, method: LoadedMethod | None, compute: ComputeSpec, strip_bytes: int | None
) -> Path:
    """A folder of the cache, named by the hash of everything that decides the result."""
    reading, items = videos.reading, videos.videos
    identity = {
        "vclip": __version__,
        "model": None if method is None else method.describe(),
        "reading": {
            "sampling": reading.sampling.as_dict(),
            "preprocessing": reading.preprocessing.as_dict(),
            "crops": reading.crops,
            "decoder": describe_decoder(reading.decoder),
        },
        "device": torch.device(compute.device).type,
        "batch_size": compute.batch_size,
        "strips": [strip_bytes, FRAMES, SMALL],
        "items": [[*asdict(item).values(), *_stamp(videos.root / item.path)] for item in items],
    }
    return cache_folder() / "report" / sha256_json(identity)[:32]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _write_part(folder: Path, start: int, part: VideoPass) -> None:
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
    write_tensors(part_path(folder, start), tensors, {"facts": json.dumps(facts)})


def _read_part(folder: Path, start: int) -> VideoPass | None:
    """A part of an earlier pass; None where there is none, or it is damaged."""
    from safetensors import SafetensorError, safe_open

    path = part_path(folder, start)
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as stream:
            facts = json.loads(stream.metadata()["facts"])
            joined = stream.get_tensor("strips").tobytes()
            vectors = stream.get_tensor("vectors") if facts["vectors"] else ()
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None  # it is made again
    part = VideoPass(failures=facts["failures"])
    position = 0
    for video, length, indices in facts["strips"]:
        part.strips[video] = Strip(joined[position : position + length], tuple(indices))
        position += length
    part.vectors = dict(zip(facts["vectors"], vectors, strict=True))
    return part
