"""Preprocessing of frames for the image tower; stored with the weights that need it.

Pixel statistics: OpenAI's CLIP (`clip/clip.py`) and torchvision's ImageNet models.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Resize, crop and normalisation.

    size: side of the square that the image tower takes, in pixels.
    resize_to: the short side before the crop, in pixels (as `size` for CLIP itself, 256 for the
      published video pipelines at size 224).
    resize_mode: `shortest` (short side to `resize_to`, then crop), `squash` (both sides to `size`)
      or `longest` (long side to `size`, then pad).
    interpolation: `bicubic` or `bilinear` as Pillow does it (antialiased: CLIP and open_clip), or
      `cv2-bilinear`, OpenCV's without antialiasing (the published video pipelines).
    mean, std: per RGB channel, for pixels in 0..1.
    """

    size: int = 224
    resize_to: int = 224
    resize_mode: Literal["shortest", "squash", "longest"] = "shortest"
    interpolation: Literal["bicubic", "bilinear", "cv2-bilinear"] = "bicubic"
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form, for records and checkpoints."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Preprocessing:
        """The inverse of `as_dict`."""
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values.items()
        }
        return cls(**plain)


def reference_video_preprocessing(size: int = 224) -> Preprocessing:
    """The pipeline of X-CLIP and ViFi-CLIP: ImageNet statistics, bilinear, short side 256/224·size.

    Source: `datasets/build.py` of both (docs/methods.md#vifi-clip).
    """
    return Preprocessing(
        size=size,
        resize_to=int(256 / 224 * size),
        interpolation="cv2-bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
