"""Turning the decoder's pictures into rows of one RGB array."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vclip_cli.common.errors import VideoError
from vclip_cli.video.decoded import EachFrame
from vclip_cli.video.opening import library_errors

MOST_BYTES = 8 * 1024**3
"""Most memory for the frames of one video at source size: 80 frames of 8K."""


class PictureRows:
    """Collects the wanted pictures of one video, each in every row that asks for it.

    All rows have the size of the first picture. each: applied to every picture (H, W, 3) before it
    is kept, to make it smaller for example.
    missing: the wanted frame numbers that have not arrived yet.
    """

    def __init__(
        self, path: Path, indices: NDArray[np.int64], each: EachFrame | None = None
    ) -> None:
        self._path = path
        self._each = each
        self._rows: dict[int, list[int]] = {}
        for row, index in enumerate(indices.tolist()):
            self._rows.setdefault(index, []).append(row)
        self.missing = set(self._rows)
        self._count = len(indices)
        self._converter = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._frames: NDArray[np.uint8] | None = None
        self.rotation = 0

    def put(self, index: int, picture: VideoFrame) -> None:
        """Convert the picture of frame `index` to RGB, rotate it and fill its rows."""
        if self._size is None:
            self._size = picture.width, picture.height
            self.rotation = quarter_turns(picture) * 90
        width, height = self._size
        with library_errors(self._path):
            rgb = self._converter.reformat(picture, width, height, "rgb24", threads=1)
            plane = rgb.planes[0]
            lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        pixels = lines[:height, : width * 3].reshape(height, width, 3)
        pixels = np.rot90(pixels, self.rotation // 90)
        if self._each is not None:
            pixels = self._each(np.ascontiguousarray(pixels))
        if self._frames is None:
            self._frames = self._allocate(pixels.shape)
        for row in self._rows[index]:
            self._frames[row] = pixels
        self.missing.discard(index)

    def _allocate(self, shape: tuple[int, ...]) -> NDArray[np.uint8]:
        try:
            if self._count * math.prod(shape) > MOST_BYTES:
                raise MemoryError
            return np.empty((self._count, *shape), np.uint8)
        except MemoryError as error:  # a damaged header can claim any size
            raise VideoError(
                "its frames do not fit into memory",
                where=str(self._path),
                found=f"{self._count} frames of {shape[1]} x {shape[0]} pixels",
            ) from error

    def result(self) -> NDArray[np.uint8]:
        """The filled array (N, H, W, 3). Raises VideoError when a frame is missing."""
        if self._frames is None or self.missing:
            raise VideoError(
                "the decoder gave no picture for some frames",
                where=str(self._path),
                found=f"{len(self.missing)} of {len(self._rows)} missing",
            )
        return self._frames


def quarter_turns(picture: VideoFrame) -> int:
    """The display rotation of a picture in counter-clockwise quarter turns, 0..3."""
    return round(picture.rotation / 90) % 4
