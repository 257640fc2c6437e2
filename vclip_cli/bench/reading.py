"""Reading T frames of every video with each reader in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.bench.timing import Part, Seconds, timed
from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.loading.videos import ListedVideo
from vclip_cli.engine.runs.parts import FailedVideo
from vclip_cli.video import decode
from vclip_cli.video.decoders import decoder_versions
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.preprocess import resize, resized_size
from vclip_cli.video.published import decord_errors, load_decord
from vclip_cli.video.sampling import midpoint_indices

REFERENCE = "REF"
READ_STORE = "read store"
Reader = Callable[[ListedVideo], object]


def read_reference(path: Path, frames: int, short_side: int) -> list[NDArray[np.uint8]]:
    """T frames as mmaction2, X-CLIP and ViFi-CLIP read them.

    decord's VideoReader on one thread, `get_batch` at full size, then `shrink`. Raises VideoError,
    UsageError without decord.
    """
    decord = load_decord()
    with decord_errors(path):
        reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        pictures = reader.get_batch(midpoint_indices(len(reader), frames).tolist()).asnumpy()
    return shrink(pictures, short_side)


def shrink(pictures: NDArray[np.uint8], short_side: int) -> list[NDArray[np.uint8]]:
    """Frames (T, H, W, 3), each resized by OpenCV's bilinear."""
    spec = Preprocessing(size=short_side, resize_to=short_side, interpolation="cv2-bilinear")
    height, width = resized_size(pictures.shape[1], pictures.shape[2], spec)
    return [resize(picture, height, width, spec.interpolation) for picture in pictures]


def make_readers(
    root: Path, frames: int, short_side: int, store: FrameStore | None
) -> dict[str, Reader]:
    """Reader by name; each returns T frames with the same short side. REF needs decord."""

    def plan(count: int) -> NDArray[np.int64]:
        return midpoint_indices(count, frames)

    def with_decoder(name: str) -> Reader:
        return lambda video: shrink(decode(root / video.path, plan, name).frames, short_side)

    installed = [name for name, version in decoder_versions().items() if version]
    readers: dict[str, Reader] = {}
    if "decord" in installed:
        readers[REFERENCE] = lambda video: read_reference(root / video.path, frames, short_side)
    readers |= {f"decode, {name}": with_decoder(name) for name in installed}
    if store is not None:
        readers[READ_STORE] = lambda video: shrink(
            store.decode(video.video, plan).frames, short_side
        )
    return readers


def readable_by_all(
    videos: Sequence[ListedVideo], readers: dict[str, Reader]
) -> tuple[list[ListedVideo], list[FailedVideo]]:
    """The videos that every reader can read, and those that some reader cannot.

    Each reader reads each video once, which also warms up.
    """
    good: list[ListedVideo] = []
    left_out: list[FailedVideo] = []
    for video in videos:
        for name, read in readers.items():
            try:
                read(video)
            except VclipError as error:
                left_out.append(FailedVideo(video.video, video.path, f"{name}: {error.what}"))
                break
        else:
            good.append(video)
    return good, left_out


def measure_readers(
    videos: Sequence[ListedVideo],
    readers: dict[str, Reader],
    rounds: int,
    *,
    progress: Progress = no_progress,
) -> list[Part]:
    """Each video by each reader, one after the other and in rotating order, `rounds` times.

    Other load on the machine then affects all readers alike, and the ratios are of pairs.
    """
    names = list(readers)
    parts = {name: Part(name, len(videos)) for name in names}
    with progress("decoding", rounds * len(videos)) as advance:
        for number in range(rounds):
            wall, cpu = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
            for place, video in enumerate(videos):
                first = (number + place) % len(names)
                for name in names[first:] + names[:first]:
                    took = timed(partial(readers[name], video))
                    wall[name] += took.wall
                    cpu[name] += took.cpu
                advance(1)
            for name, part in parts.items():
                part.rounds.append(Seconds(wall[name], cpu[name]))
    return list(parts.values())
