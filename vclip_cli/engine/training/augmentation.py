"""Training augmentation of a clip, drawn from a seed of the sample's own.

The same seed gives the same pixels whatever the batch, the worker or the process.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from vclip_cli.common.errors import SpecError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.data.recipe import Augmentation, ColorJitter
from vclip_cli.video.preprocess import preprocess_frames, resized_size

MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)


def augment(
    frames: np.ndarray, spec: Preprocessing, how: Augmentation, seed: int, *, flip: bool = True
) -> np.ndarray:
    """A decoded clip uint8 (T,H,W,3) to an augmented one, uint8 (T,S,S,3).

    flip: False where left and right mean something, whatever the recipe says.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        clip = _crop(frames, spec, how)
        if how.rand_augment is not None:
            operations, magnitude = parse_rand_augment(how.rand_augment)
            clip = v2.RandAugment(num_ops=operations, magnitude=magnitude)(clip)
        if how.flip and _drawn(how.flip) and flip:
            clip = v2.functional.horizontal_flip(clip)
        if how.color_jitter is not None and _drawn(how.color_jitter.probability):
            clip = _jitter(clip, how.color_jitter)
        if how.grayscale and _drawn(how.grayscale):
            clip = v2.functional.rgb_to_grayscale(clip, num_output_channels=3)
    return np.ascontiguousarray(clip.permute(0, 2, 3, 1).numpy())


def parse_rand_augment(text: str) -> tuple[int, int]:
    """Operations and magnitude of timm's notation, `rand-m7-n4-mstd0.5-inc1`.

    torchvision's RandAugment has no noise on the magnitude (`mstd`) and its own scale of strength
    (`inc`): those two are read and left aside. Raises SpecError.
    """
    values = dict(re.findall(r"-(m|n)(\d+)(?=-|$)", text))
    if not text.startswith("rand-") or set(values) != {"m", "n"}:
        raise SpecError("not a RandAugment", found=text, expected="such as rand-m7-n4")
    return int(values["n"]), int(values["m"])


def is_side_sensitive(texts: Iterable[str]) -> bool:
    """Whether class texts speak of left, right or a sense of rotation, which a flip turns round."""
    words = {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
    return bool(words & {"left", "right", "clockwise", "anticlockwise", "counterclockwise"})


def _drawn(probability: float) -> bool:
    return float(torch.rand(())) < probability


def _crop(frames: np.ndarray, spec: Preprocessing, how: Augmentation) -> Tensor:
    if how.crop == "center":
        return _channels_first(preprocess_frames(frames, spec)[0])
    clip = _channels_first(frames)
    if how.crop == "multi-scale":
        resized_size(*frames.shape[1:3], spec)  # refuses what would grow without bounds
        short = v2.functional.resize(clip, [spec.resize_to], antialias=True)
        return _multi_scale_crop(short, spec.size, how.scales or MULTI_SCALES)
    scale = tuple(how.scales) if how.scales else (0.08, 1.0)
    ratio = how.ratio or (3 / 4, 4 / 3)
    return v2.RandomResizedCrop(spec.size, scale=scale, ratio=ratio, antialias=True)(clip)


def _jitter(clip: Tensor, how: ColorJitter) -> Tensor:
    jitter = v2.ColorJitter(how.brightness, how.contrast, how.saturation, how.hue)
    return torch.stack([jitter(frame) for frame in clip]) if how.per_frame else jitter(clip)


def _channels_first(frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)


def _multi_scale_crop(clip: Tensor, size: int, scales: Sequence[float]) -> Tensor:
    """A crop whose sides are drawn from neighbouring scales of the short side, then resized.

    At one of five fixed places: the corners and the middle (X-CLIP, `datasets/pipeline.py`: scales
    at most one step apart).
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
