from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from open_clip.transform import image_transform
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor
from torchvision.transforms.functional import InterpolationMode

from vclip_cli.common.errors import UsageError
from vclip_cli.common.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from vclip_cli.common.preprocessing import reference_video_preprocessing as published
from vclip_cli.video.preprocess import normalise, preprocess_frames

# Height and width: landscape, portrait, odd, of the crop's size, smaller than the crop, thin.
SIZES = [
    (256, 340),
    (340, 255),
    (97, 65),
    (101, 233),
    (64, 64),
    (64, 91),
    (30, 20),
    (20, 33),
    (7, 150),
    (333, 12),
]


def noise(height: int, width: int, count: int = 2) -> np.ndarray:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def normalised(frames: np.ndarray, spec: Preprocessing) -> torch.Tensor:
    return normalise(torch.from_numpy(preprocess_frames(frames, spec)[0]), spec)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_bit_identical_to_open_clip(size, resize_mode, interpolation):
    frames = noise(*size)
    for side in (64, 65):
        spec = Preprocessing(
            size=side, resize_to=side, resize_mode=resize_mode, interpolation=interpolation
        )
        transform = image_transform(
            side, is_train=False, resize_mode=resize_mode, interpolation=interpolation
        )
        expected = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
        assert torch.equal(normalised(frames, spec), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("resize_to", "side"), [(73, 64), (73, 65), (50, 64), (49, 64)])
def test_bit_identical_to_torchvision_where_resize_and_crop_differ(size, resize_to, side):
    spec = Preprocessing(
        size=side,
        resize_to=resize_to,
        interpolation="bilinear",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    transform = Compose(
        [
            Resize(resize_to, InterpolationMode.BILINEAR),
            CenterCrop(side),
            ToTensor(),
            Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    frames = noise(*size)
    expected = torch.stack([transform(Image.fromarray(frame)) for frame in frames])
    assert torch.equal(normalised(frames, spec), expected)


@pytest.mark.parametrize("size", [(256, 340), (340, 255), (97, 65), (101, 233), (20, 33)])
def test_published_pipelines_resize_with_opencv(size):
    frames = noise(*size)
    height, width = size
    factor = 256 / min(size)
    to = int(width * factor + 0.5), int(height * factor + 0.5)
    left, top = (to[0] - 224) // 2, (to[1] - 224) // 2
    expected = np.stack([cv2.resize(frame, to) for frame in frames])
    found = preprocess_frames(frames, published())
    assert found.shape == (1, 2, 224, 224, 3)
    np.testing.assert_array_equal(found[0], expected[:, top : top + 224, left : left + 224])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "cv2-bilinear"])
@pytest.mark.parametrize("portrait", [False, True])
def test_three_crops_lie_along_the_long_side(interpolation, portrait):
    frames = noise(64, 101)
    if portrait:
        frames = frames.transpose(0, 2, 1, 3).copy()
    spec = replace(published(64), interpolation=interpolation)
    found = preprocess_frames(frames, spec, crops=3)
    assert found.shape == (3, 2, 64, 64, 3)
    for crop, start in enumerate((0, 18, 37)):
        cut = np.s_[:, start : start + 64] if portrait else np.s_[:, :, start : start + 64]
        np.testing.assert_array_equal(found[crop], frames[cut])


def test_three_crops_resize_the_short_side_to_the_crop():
    spec = published(64)
    assert spec.resize_to > 64
    frames = noise(128, 200)
    expected = [cv2.resize(frame, (100, 64)) for frame in frames]
    found = preprocess_frames(frames, spec, crops=3)
    np.testing.assert_array_equal(found[0], np.stack(expected)[:, :, :64])
    np.testing.assert_array_equal(found[2], np.stack(expected)[:, :, 36:])


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "cv2-bilinear"])
@pytest.mark.parametrize("crops", [1, 3])
def test_shape_and_type_hold_for_every_size(resize_mode, interpolation, crops):
    spec = Preprocessing(
        size=32, resize_to=36, resize_mode=resize_mode, interpolation=interpolation
    )
    for size in [*SIZES, (1, 1), (1, 300), (300, 1), (2, 3)]:
        frames = noise(*size)
        before = frames.copy()
        found = preprocess_frames(frames, spec, crops)
        assert found.shape == (crops, 2, 32, 32, 3)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(frames, before)


def test_frames_need_not_lie_in_one_piece():
    spec = Preprocessing(size=32, resize_to=32)
    turned = np.rot90(noise(50, 70), 1, (1, 2))
    for interpolation in ("bicubic", "cv2-bilinear"):
        varied = replace(spec, interpolation=interpolation)
        np.testing.assert_array_equal(
            preprocess_frames(turned, varied), preprocess_frames(turned.copy(), varied)
        )


def test_other_numbers_of_crops_are_refused():
    for crops in (0, 2, 5):
        with pytest.raises(UsageError, match="1 or 3"):
            preprocess_frames(noise(64, 64), Preprocessing(), crops)


def test_normalise_keeps_leading_dimensions_and_its_input():
    spec = Preprocessing(size=8, resize_to=8)
    frames = torch.from_numpy(noise(8, 8, 12)).reshape(2, 3, 2, 8, 8, 3)
    before = frames.clone()
    found = normalise(frames, spec)
    assert found.shape == (2, 3, 2, 3, 8, 8)
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert torch.equal(frames, before)
    transform = Compose([ToTensor(), Normalize(spec.mean, spec.std)])
    assert torch.equal(found[1, 2, 1], transform(frames[1, 2, 1].numpy()))
