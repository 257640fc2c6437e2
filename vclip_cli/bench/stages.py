"""The stages of an evaluation after reading, each measured alone, and the whole of it.

Shapes: B batch, V views, T frames, S side of the input in pixels.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vclip_cli.bench.timing import Marks, Part, repeated, timed
from vclip_cli.common.long_work import Progress
from vclip_cli.engine.encoding.encoder import PRECISIONS, Encoder, counted_operations
from vclip_cli.engine.encoding.passes import score_videos
from vclip_cli.engine.loading.videos import VideoReading, VideoSet, video_batches
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.specs import ModelSpec
from vclip_cli.models.contract import Adapter
from vclip_cli.video import decode
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.preprocess import normalise, preprocess_frames

CLASSES = 51
"""Made-up classes, as many as HMDB51 has."""
PRODUCT = (2048, 768, 3072)
"""Rows, inner length and columns of the matrix product on a CPU: that of a ViT-B block."""
LARGE_PRODUCT = (8192, 8192, 8192)
"""The same for a GPU, which needs a larger one for its full speed."""
PRODUCTS = 3
MOST_HELD = 4
"""Videos whose decoded frames are held at once: 16 frames of 720p are 44 MB."""


@dataclass(frozen=True)
class Stages:
    """What all stages are measured with."""

    encoder: Encoder
    videos: VideoSet
    rounds: int

    def from_store(self, store: FrameStore) -> Stages:
        """The same with the frames of a store."""
        return replace(
            self, videos=replace(self.videos, reading=replace(self.reading, store=store))
        )

    @property
    def reading(self) -> VideoReading:
        """How the videos are read."""
        return self.videos.reading

    @property
    def workers(self) -> int:
        """How many processes read videos; 0 for this one."""
        return self.encoder.workers.most_workers

    @property
    def batch_size(self) -> int:
        """Videos a batch."""
        return self.encoder.compute.batch_size

    def preprocessing(self) -> Part:
        """Resize and crop on the CPU as the weights require, then normalisation on the device."""
        spec, device = self.reading.preprocessing, self.encoder.device
        frames = [
            decode(self.videos.root / video.path, self.reading.sampling.indices).frames
            for video in self.videos.videos[:MOST_HELD]
        ]

        def run() -> None:
            for decoded in frames:
                cut = preprocess_frames(decoded, spec, self.reading.crops)
                normalise(torch.from_numpy(cut).to(device), spec)

        part = Part("preprocess", len(frames))
        part.rounds += [timed(run, device) for _ in range(self.rounds)]
        return part

    def transfer(self) -> Part:
        """A batch of uint8 frames from pinned memory to the device; only where that is a GPU."""
        batch, device = self.batch_size, self.encoder.device
        part = Part("transfer", batch)
        if device.type != "cuda":
            part.remark = "not measured: no GPU"
            return part
        side = self.reading.preprocessing.size
        shape = (batch, self.reading.views, self.reading.sampling.frames, side, side, 3)
        frames = torch.zeros(shape, dtype=torch.uint8).pin_memory()

        def copy() -> None:
            frames.to(device, non_blocking=True)

        copy()
        part.rounds += [timed(copy, device) for _ in range(self.rounds)]
        return part

    @torch.inference_mode()
    def encoding(self) -> tuple[Part, Part]:
        """Videos through the image side, and a large matrix product beside it, in turns.

        One video at a time on a CPU, as in an evaluation, and a batch on a GPU.
        """
        device = self.encoder.device
        batch = 1 if device.type == "cpu" else self.batch_size
        videos = made_up_videos(self.reading, batch, device)
        rows, inner, columns = PRODUCT if device.type == "cpu" else LARGE_PRODUCT
        dtype = PRECISIONS[self.encoder.compute.precision] or torch.float32
        left = torch.randn(rows, inner, device=device, dtype=dtype)
        right = torch.randn(inner, columns, device=device, dtype=dtype)

        def encode() -> None:
            with self.encoder.computing():
                self.encoder.adapter.encode_video(videos)

        def multiply() -> None:
            for _ in range(PRODUCTS):
                left @ right

        encoder = Part("encoder", batch, flops=count_flops(self.encoder.adapter, videos) / batch)
        product = Part("matrix product", PRODUCTS, flops=2.0 * rows * inner * columns)
        encode()
        multiply()
        for _ in range(self.rounds):
            encoder.rounds.append(timed(encode, device))
            product.rounds.append(timed(multiply, device))
        return encoder, product

    def loading(self) -> Part:
        """Batches read and preprocessed by the evaluation's own workers, and then discarded."""
        videos = self._repeated()
        batches = Division(len(videos), self.batch_size).batches()
        part = Part(loading_name(self.reading.store is not None, self.workers), len(self.videos))
        for _ in range(self.rounds):
            marks = Marks()
            for batch in video_batches(videos, batches, self.encoder.workers):
                marks.add(len(batch.positions))
            seconds = marks.seconds_for(len(self.videos), self.workers)
            assert seconds is not None  # there are workers
            part.rounds.append(seconds)
        return part

    def whole(self, progress: Progress) -> Part:
        """From files, or a store, to scores by the evaluation's own loop.

        The class texts are encoded beforehand. Workers are measured once all have started.
        """
        classes = [f"class {number}" for number in range(CLASSES)]
        text = self.encoder.encode_text(
            [[name] for name in self.encoder.adapter.tied_classes or classes]
        )
        name = "end to end" if self.reading.store is None else "end to end, store"
        part = Part(name, len(self.videos))
        videos = self._repeated()

        def score(folder: str, marks: Marks) -> None:
            score_videos(self.encoder, text, videos, Path(folder), progress=marks.progress)

        with progress(part.name, self.rounds) as advance:
            for _ in range(self.rounds):
                marks = Marks()
                with tempfile.TemporaryDirectory() as folder:
                    whole = timed(partial(score, folder, marks), self.encoder.device)
                part.rounds.append(marks.seconds_for(len(self.videos), self.workers) or whole)
                advance(1)
        return part

    def _repeated(self) -> VideoSet:
        """The videos so often that all workers are busy while it is measured."""
        return replace(
            self.videos, videos=repeated(self.videos.videos, self.workers, self.batch_size)
        )


def with_weights(model: ModelSpec) -> ModelSpec:
    """Random weights where none are named: they have the same speed and need no network."""
    if model.checkpoint is not None or model.pretrained is not None:
        return model
    return replace(model, pretrained="random")


def loading_name(store: bool, workers: int) -> str:
    """The name of the part in which several processes read."""
    return f"{'store' if store else 'files'}, {workers} worker{'s' if workers > 1 else ''}"


def made_up_videos(reading: VideoReading, batch: int, device: torch.device) -> Tensor:
    """Normalised frames (B, T, 3, S, S) of noise: the content has no effect on the speed."""
    size = reading.preprocessing.size
    generator = torch.Generator().manual_seed(0)
    shape = (batch, reading.sampling.frames, 3, size, size)
    return torch.randn(shape, generator=generator).to(device)


@torch.inference_mode()
def count_flops(adapter: Adapter, videos: Tensor) -> float:
    """The operations that one pass over videos (B, T, 3, S, S) carries out."""
    with counted_operations() as counter:
        adapter.encode_video(videos)
    return float(counter.get_total_flops())
