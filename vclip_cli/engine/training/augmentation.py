"""Augmentation of training frames, drawn from the sample's own seed.

The same seed gives the same pixels whatever the batch, the worker or the process.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Augmentation
from vclip_cli.video.preprocess import preprocess_frames, resized_size

MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)
DIRECTIONS = {"left", "right", "clockwise", "anticlockwise", "counterclockwise"}


def augment(
    frames: np.ndarray, spec: Preprocessing, how: Augmentation, seed: int, *, may_flip: bool = True
) -> np.ndarray:
    """Augment decoded frames, uint8 (T,H,W,3), and crop them to uint8 (T,S,S,3).

    may_flip: False forbids flips whatever the recipe says, for classes that name a direction.
    """
    if how.rand_augment is not None:
        frames = rand_augment(frames, how.rand_augment, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = _crop(frames, spec, how)
        if how.flip and _happens(how.flip) and may_flip:
            clip = v2.functional.horizontal_flip(clip)
        if how.color_jitter is not None and _happens(how.color_jitter.probability):
            color = how.color_jitter
            jitter = v2.ColorJitter(color.brightness, color.contrast, color.saturation, color.hue)
            clip = torch.stack([jitter(f) for f in clip]) if color.per_frame else jitter(clip)
        if how.grayscale and _happens(how.grayscale):
            clip = v2.functional.rgb_to_grayscale(clip, num_output_channels=3)
    return np.ascontiguousarray(clip.permute(0, 2, 3, 1).numpy())


def rand_augment(frames: np.ndarray, setting: str, seed: int) -> np.ndarray:
    """timm's RandAugment of frames, uint8 (T,H,W,3); the frames of a clip share one draw.

    setting: timm's notation, such as `rand-m7-n4-mstd0.5-inc1`. As in Vita-CLIP's training code,
    whole frames are augmented, before the crop, and geometric operations are bicubic. timm draws
    from the global generators of Python and NumPy, so both are seeded for each frame and restored
    at the end.
    """
    transform = _rand_augment_transform(setting)
    python_state, numpy_state = random.getstate(), np.random.get_state()
    augmented = []
    try:
        for frame in frames:
            random.seed(seed)
            np.random.seed(seed % 2**32)
            augmented.append(np.asarray(transform(Image.fromarray(frame))))
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    return np.stack(augmented)


@lru_cache(maxsize=8)
def _rand_augment_transform(setting: str) -> Callable[[Image.Image], Image.Image]:
    from timm.data.auto_augment import rand_augment_transform  # loads all of timm.data

    transform: Callable[[Image.Image], Image.Image] = rand_augment_transform(
        setting, {"interpolation": Image.Resampling.BICUBIC}
    )
    return transform


def names_a_direction(texts: Iterable[str]) -> bool:
    """Whether class texts name left, right or a sense of rotation, which a flip would reverse."""
    words = {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
    return bool(words & DIRECTIONS)


def _happens(probability: float) -> bool:
    return float(torch.rand(())) < probability


def _crop(frames: np.ndarray, spec: Preprocessing, how: Augmentation) -> Tensor:
    if how.crop == "center":
        return _channels_first(preprocess_frames(frames, spec)[0])
    clip = _channels_first(frames)
    if how.crop == "multi-scale":
        resized_size(clip.shape[-2], clip.shape[-1], spec)  # refuses what would be too large
        short = v2.functional.resize(clip, [spec.resize_to], antialias=True)
        return _multi_scale_crop(short, spec.size, how.scales or MULTI_SCALES)
    scale = tuple(how.scales) if how.scales else (0.08, 1.0)
    ratio = how.ratio or (3 / 4, 4 / 3)
    return v2.RandomResizedCrop(spec.size, scale=scale, ratio=ratio, antialias=True)(clip)


def _channels_first(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def _multi_scale_crop(clip: Tensor, size: int, scales: Sequence[float]) -> Tensor:
    """Crop (T,C,H,W) at a corner or the middle, and resize to (T,C,size,size).

    Both sides are the short side times one of the scales, at most one step apart from each other
    (X-CLIP, `datasets/pipeline.py`).
    """
    height, width = clip.shape[-2:]
    sides = [int(min(height, width) * scale) for scale in scales]
    pairs = [
        (high, wide)
        for i, high in enumerate(sides)
        for j, wide in enumerate(sides)
        if abs(i - j) <= 1
    ]
    high, wide = pairs[int(torch.randint(len(pairs), ()))]
    down, right = height - high, width - wide
    places = [(0, 0), (0, right), (down, 0), (down, right), (down // 2, right // 2)]
    top, left = places[int(torch.randint(len(places), ()))]
    return v2.functional.resized_crop(clip, top, left, high, wide, [size, size], antialias=True)
