"""Reading T frames of every clip with each reader in turn, and what comes after reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from vclip_cli.bench.timing import Marks, Part, Seconds, often_enough, timed
from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.scoring import Computing
from vclip_cli.engine.loading.videos import Failure, ListedVideo, VideoReading, video_batches
from vclip_cli.video import decode
from vclip_cli.video.decoders import decoder_versions
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.preprocess import normalise, preprocess_frames
from vclip_cli.video.reference import read_reference, shrink
from vclip_cli.video.sampling import midpoint_indices

REFERENCE = "REF"
READ_STORE = "read store"
Reader = Callable[[ListedVideo], object]


def make_readers(
    root: Path, frames: int, short_side: int, store: FrameStore | None
) -> dict[str, Reader]:
    """Reader by name; each gives T frames with the same short side. REF is there with decord."""

    def plan(count: int) -> np.ndarray:
        return midpoint_indices(count, frames)

    def with_decoder(name: str) -> Reader:
        return lambda item: shrink(decode(root / item.path, plan, name).frames, short_side)

    readers: dict[str, Reader] = {}
    if decoder_versions()["decord"]:
        readers[REFERENCE] = lambda item: read_reference(root / item.path, frames, short_side)
    readers |= {
        f"decode, {name}": with_decoder(name) for name, found in decoder_versions().items() if found
    }
    if store is not None:
        readers[READ_STORE] = lambda item: shrink(store.decode(item.video, plan).frames, short_side)
    return readers


def readable_by_all(
    items: Sequence[ListedVideo], readers: dict[str, Reader]
) -> tuple[list[ListedVideo], list[Failure]]:
    """The clips that every reader reads, each once to warm up, and those that some does not."""
    good: list[ListedVideo] = []
    left_out: list[Failure] = []
    for item in items:
        for name, read in readers.items():
            try:
                read(item)
            except VclipError as error:
                left_out.append(Failure(item.video, item.path, f"{name}: {error.what}"))
                break
        else:
            good.append(item)
    return good, left_out


def measure_readers(
    items: Sequence[ListedVideo],
    readers: dict[str, Reader],
    rounds: int,
    *,
    progress: Progress = no_progress,
) -> list[Part]:
    """Each clip by each reader, one after the other and in turning order, `rounds` times.

    So whatever else the machine does meets all of them alike, and the ratios are of pairs.
    """
    names = list(readers)
    parts = {name: Part(name, len(items)) for name in names}
    with progress("decoding", rounds * len(items)) as advance:
        for number in range(rounds):
            sums = {name: Seconds(0.0, 0.0) for name in names}
            for place, item in enumerate(items):
                first = (number + place) % len(names)
                for name in names[first:] + names[:first]:
                    took = timed(lambda read=readers[name], item=item: read(item))
                    so_far = sums[name]
                    sums[name] = Seconds(so_far.wall + took.wall, so_far.cpu + took.cpu)
                advance(1)
            for name, total in sums.items():
                parts[name].rounds.append(total)
    return list(parts.values())


def measure_preprocessing(
    root: Path,
    items: Sequence[ListedVideo],
    reading: VideoReading,
    device: torch.device,
    rounds: int,
) -> Part:
    """Resize and crop on the CPU as the weights ask for, then normalisation on the device."""
    frames = [
        decode(root / item.path, lambda n: reading.sampling.indices(n).ravel()).frames
        for item in items[:MOST_HELD]
    ]

    def run() -> None:
        for clip in frames:
            cut = preprocess_frames(clip, reading.preprocessing, reading.crops)
            normalise(torch.from_numpy(cut).to(device), reading.preprocessing)

    part = Part("preprocess", len(frames))
    part.rounds += [timed(run, device) for _ in range(rounds)]
    return part


def loading_name(store: bool, workers: int) -> str:
    """What reading by several processes is called."""
    return f"{'store' if store else 'files'}, {workers} worker{'s' if workers > 1 else ''}"


def measure_loading(
    root: Path,
    clips: Sequence[ListedVideo],
    reading: VideoReading,
    computing: Computing,
    rounds: int,
) -> Part:
    """Batches read and preprocessed by the evaluation's own workers, and nothing done with them."""
    size, workers = computing.batch_size, computing.guard.most_workers
    items = often_enough(clips, workers, size)
    batches = [range(s, min(s + size, len(items))) for s in range(0, len(items), size)]
    part = Part(loading_name(reading.store is not None, workers), len(clips))
    for _ in range(rounds):
        marks = Marks()
        for batch in video_batches(root, items, reading, batches, guard=computing.guard):
            marks.add(len(batch.positions))
        seconds = marks.seconds_for(len(clips), workers)
        assert seconds is not None  # there are workers
        part.rounds.append(seconds)
    return part


MOST_HELD = 4
"""Clips whose decoded frames are kept at once: 16 frames of 720p are 44 MB."""
