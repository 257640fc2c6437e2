"""The reading of the published pipelines, as the yardstick that ours is measured by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import VideoError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.video.preprocess import resize, resized_size
from vclip_cli.video.published import load_decord, unreadable
from vclip_cli.video.sampling import midpoint_indices

Frames = list[NDArray[np.uint8]]


def read_reference(path: Path, frames: int, short_side: int) -> Frames:
    """T frames as mmaction2, X-CLIP and ViFi-CLIP read them: decord's VideoReader on one thread,
    `get_batch` at full size, then `shrink`. Raises VideoError, UsageError without decord.

    From a path, not from bytes in memory: from those decord crashes on cut-off files.
    """
    decord = load_decord()
    try:
        reader = decord.VideoReader(str(path.absolute()), num_threads=1)
        pictures = reader.get_batch(midpoint_indices(len(reader), frames).tolist()).asnumpy()
    except (VideoError, MemoryError):
        raise
    except Exception as error:  # decord raises its own errors, and plain ones of many kinds
        raise unreadable(path, error) from error
    return shrink(pictures, short_side)


def shrink(pictures: NDArray[np.uint8], short_side: int) -> Frames:
    """Frames (T,H,W,3) to OpenCV's bilinear resize of them, one by one."""
    spec = Preprocessing(size=short_side, resize_to=short_side, interpolation="cv2-bilinear")
    height, width = resized_size(pictures.shape[1], pictures.shape[2], spec)
    return [resize(picture, height, width, spec.interpolation) for picture in pictures]
