"""Frames of a video side by side in one small WebP picture, no larger than it may be."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vclip_cli.report.material import Strip
from vclip_cli.video.sampling import midpoint_indices

SMALL = ((72, 60), (64, 50), (64, 35), (56, 25), (48, 15), (40, 8), (32, 5))
LARGE = ((112, 75), (112, 55), (96, 45), (96, 30), (80, 20), (64, 12), (48, 8))
"""Side in pixels and WebP quality, tried in order until the picture is small enough."""


def make_strip(
    frames: NDArray[np.uint8], count: int, steps: tuple[tuple[int, int], ...], most: int
) -> Strip:
    """`count` of the frames (T,S,S,3), evenly spread, in at most `most` bytes if a step reaches it.

    Frames are never enlarged. Equal frames give equal bytes with one version of the encoder.
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
