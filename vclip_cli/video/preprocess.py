"""Resize and crop frames as the weights require, and normalise them on the device.

Shapes: N frames, H W pixels of the source, S = `spec.size`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, VideoError
from vclip_cli.common.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

Frames = NDArray[np.uint8]

MOST_PIXELS = 2**26
"""Largest resized frame. A strip of a few rows would grow beyond any memory."""


def preprocess_frames(frames: Frames, spec: Preprocessing, crops: int = 1) -> Frames:
    """Resize and crop: (N, H, W, 3) uint8 to (crops, N, S, S, 3) uint8, not normalised.

    crops=1 is the centre crop. crops=3 resizes the short side to S, whatever `spec.resize_to` and
    `spec.resize_mode` say, and takes the start, the middle and the end of the long side. `bicubic`
    and `bilinear` give the same pixels as open_clip's transform, `cv2-bilinear` the same as the
    published video pipelines. A side shorter than S is padded with black. Raises VideoError for
    frames that are too thin.
    """
    if crops not in (1, 3):
        raise UsageError("the number of crops must be 1 or 3", found=str(crops))
    height, width = frames.shape[1:3]
    new_height, new_width = resized_size(height, width, spec, crops)
    boxes = _crop_corners(new_height, new_width, spec, crops)
    out = np.empty((crops, len(frames), spec.size, spec.size, 3), np.uint8)
    for number, frame in enumerate(frames):
        resized = resize(frame, new_height, new_width, spec.interpolation)
        for crop, (top, left) in enumerate(boxes):
            _cut(resized, top, left, out[crop, number])
    return out


def shrink_frame(frame: Frames, short_side: int) -> Frames:
    """(H, W, 3) uint8 with the short side at most `short_side`, as `cv2-bilinear`; never larger.

    The sides are rounded half up, as in the published video pipelines.
    """
    height, width = frame.shape[:2]
    if min(height, width) <= short_side:
        return frame
    spec = Preprocessing(resize_to=short_side, interpolation="cv2-bilinear")
    return resize(frame, *resized_size(height, width, spec), spec.interpolation)


def normalise(frames: torch.Tensor, spec: Preprocessing) -> torch.Tensor:
    """uint8 (..., S, S, 3) to float32 (..., 3, S, S), on the device where the frames are.

    The same numbers as torchvision's ToTensor and Normalize.
    """
    import torch

    pixels = frames.movedim(-1, -3).to(torch.float32, memory_format=torch.contiguous_format)
    mean, std = _on_device(spec.mean, frames.device), _on_device(spec.std, frames.device)
    return pixels.div_(255).sub_(mean).div_(std)


@cache
def _on_device(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """(3, 1, 1), sent once: each transfer of a few numbers to a GPU makes the CPU wait for it."""
    import torch

    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]


def resized_size(height: int, width: int, spec: Preprocessing, crops: int = 1) -> tuple[int, int]:
    """Height and width after the resize, before the crop.

    Pillow-based pipelines round the long side down; the published video pipelines round both sides
    half up. Raises VideoError where a frame is so thin that the result would not fit into memory.
    """
    mode = "shortest" if crops == 3 else spec.resize_mode
    if mode == "squash":
        return spec.size, spec.size
    if mode == "longest":
        ratio = max(height, width) / spec.size
        return max(round(height / ratio), 1), max(round(width / ratio), 1)
    short_side = spec.size if crops == 3 else spec.resize_to
    if short_side**2 * max(height, width) > MOST_PIXELS * min(height, width):
        found = f"{width} x {height} pixels"
        raise VideoError("its frames are too thin to be resized", found=found)
    if spec.interpolation == "cv2-bilinear":
        factor = short_side / min(height, width)
        return int(height * factor + 0.5), int(width * factor + 0.5)
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def _crop_corners(
    height: int, width: int, spec: Preprocessing, crops: int
) -> list[tuple[int, int]]:
    """Top and left of each crop; negative where the frame is smaller than the crop."""
    spare_height, spare_width = height - spec.size, width - spec.size
    if crops == 3:
        return [(spare_height * part // 2, spare_width * part // 2) for part in range(3)]
    if spec.interpolation == "cv2-bilinear":
        return [(spare_height // 2, spare_width // 2)]
    return [(_middle(spare_height), _middle(spare_width))]


def _middle(spare: int) -> int:
    """Half of the spare pixels; halves are rounded to even when cropping, up when padding."""
    return round(spare / 2) if spare >= 0 else -(-spare // 2)


def _cut(frame: Frames, top: int, left: int, out: Frames) -> None:
    """Copy the crop at (top, left) into `out` (S, S, 3), black outside the frame."""
    size = out.shape[0]
    height, width = frame.shape[:2]
    if top >= 0 and left >= 0 and top + size <= height and left + size <= width:
        out[...] = frame[top : top + size, left : left + size]
        return
    out[...] = 0
    inside = frame[max(top, 0) : top + size, max(left, 0) : left + size]
    y, x = max(-top, 0), max(-left, 0)
    out[y : y + inside.shape[0], x : x + inside.shape[1]] = inside


def resize(frame: Frames, height: int, width: int, interpolation: str) -> Frames:
    """One frame (H, W, 3) resized; the same array when it already has the size."""
    if frame.shape[:2] == (height, width):
        return frame
    if interpolation == "cv2-bilinear":
        cv2 = _one_threaded_cv2()
        resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, np.uint8)
    from PIL import Image

    kernel = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
    image = Image.fromarray(frame).resize((width, height), kernel[interpolation])
    return np.asarray(image)


@cache
def _one_threaded_cv2() -> Any:
    """OpenCV on one thread: loading runs one process per core, and a fork loses the threads."""
    import cv2

    cv2.setNumThreads(1)
    return cv2
