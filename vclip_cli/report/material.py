"""What a report is made of: records, predictions, and what videos and weights add to them.

Shapes: N videos, T frames, S side of a frame, E embedding width, H W patches of a frame.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.predictions import Predictions
from vclip_cli.video.sampling import midpoint_indices

SMALL = ((72, 60), (64, 50), (64, 35), (56, 25), (48, 15), (40, 8), (32, 5))
LARGE = ((112, 75), (112, 55), (96, 45), (96, 30), (80, 20), (64, 12), (48, 8))
"""Side in pixels and WebP quality of a strip, tried in order until it is small enough."""


@dataclass(frozen=True)
class Missing:
    """A part that could not be made, and why, as a sentence for the page."""

    why: str


@dataclass(frozen=True, eq=False)
class Strip:
    """Frames of one video side by side in one WebP picture.

    indices: which of the T frames that the model saw, counted from 0.
    """

    data: bytes
    indices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector a video, as the method makes it: (N,E) float32, in the order of `videos`."""

    videos: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TemporalAttention:
    """Attention between frames: weights (T,T), averaged over heads; rows are queries."""

    module: str
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class VideoAttention:
    """What the CLS token of each frame attends to in the image tower's last block.

    patches: (T,H,W), averaged over heads; cls, own: (T,), the weights of the CLS token itself and
    of tokens that the method adds. The three sum to 1 for each frame. temporal: attention between
    frames, for methods that have it. strip: the frames, where this result used other frames than
    the page shows of the video elsewhere.
    """

    patches: NDArray[np.float32]
    cls: NDArray[np.float32]
    own: NDArray[np.float32]
    temporal: tuple[TemporalAttention, ...] = ()
    strip: Strip | None = None


@dataclass(frozen=True, eq=False)
class ResultMaterial:
    """One record with its predictions, embeddings and attention."""

    loaded: LoadedRecord
    predictions: Predictions | Missing
    embeddings: Embeddings | Missing = field(default_factory=lambda: Missing("Not asked for."))
    attention: Mapping[str, VideoAttention] | Missing = field(
        default_factory=lambda: Missing("Not asked for.")
    )
    remarks: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class ReportMaterial:
    """Everything of one page.

    videos: for each result, the videos that are shown one by one. strips: small strips by dataset
    and video, and focus_strips: large ones. frames: why there are no pictures at all, else None.
    """

    results: Sequence[ResultMaterial]
    videos: Sequence[Sequence[str]]
    strips: Mapping[tuple[str, str], Strip] = field(default_factory=dict)
    focus_strips: Mapping[tuple[str, str], Strip] = field(default_factory=dict)
    frames: Missing | None = None


def make_strip(
    frames: NDArray[np.uint8], count: int, steps: tuple[tuple[int, int], ...], most: int
) -> Strip:
    """`count` of the frames (T,S,S,3), evenly spread, in at most `most` bytes if a step reaches it.

    Frames are never enlarged. The same version of the encoder gives equal bytes for equal frames.
    """
    total = len(frames)
    indices = midpoint_indices(total, min(count, total))
    pictures = [Image.fromarray(frames[index]) for index in indices]
    data = b""
    for side, quality in steps:
        data = _encode(pictures, min(side, frames.shape[1]), quality)
        if len(data) <= most:
            break
    return Strip(data, tuple(indices.tolist()))


def _encode(pictures: list[Image.Image], side: int, quality: int) -> bytes:
    joined = Image.new("RGB", (side * len(pictures), side))
    for place, picture in enumerate(pictures):
        joined.paste(picture.resize((side, side), Image.Resampling.BOX), (place * side, 0))
    buffer = io.BytesIO()
    joined.save(buffer, "WEBP", quality=quality, method=4)
    return buffer.getvalue()
