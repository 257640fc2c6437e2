"""What exists in the toy world: shapes, motions, classes, and the list of all videos.

This file draws nothing: the list is the same on every machine and takes milliseconds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

from vclip_cli.common.files import sha256_json

RENDERER_VERSION = 2
"""Raised when the pixels or bytes of a video change; part of the fingerprints."""

SIZE = 64
"""Side of a frame, in pixels."""
FRAMES = 24
"""Frames per video. The midpoints for T = 8 and T = 16 are symmetric in time at this count."""
RATE = 12
"""Frames per second."""

RENDERER = {"renderer": RENDERER_VERSION, "size": SIZE, "frames": FRAMES, "rate": RATE}

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "moon")


class Axis(NamedTuple):
    """A quantity that changes over a video, and the names of its rise and its fall."""

    name: str
    rising: str
    falling: str


AXES = {
    axis.name: axis
    for axis in (
        Axis("horizontal", rising="moving right", falling="moving left"),
        Axis("vertical", rising="moving down", falling="moving up"),
        Axis("size", rising="growing", falling="shrinking"),
        Axis("angle", rising="spinning clockwise", falling="spinning anticlockwise"),
    )
}
MOTIONS = tuple(motion for axis in AXES.values() for motion in (axis.falling, axis.rising))

# Both directions of an axis belong to one part, so that within base and within novel only the order
# of frames tells them apart. Every shape and every axis occurs in both parts; no pair does.
BASE_AXES = {
    "circle": ("horizontal", "vertical"),
    "square": ("horizontal", "size"),
    "triangle": ("vertical", "angle"),
    "star": ("horizontal", "size"),
    "cross": ("vertical", "size"),
    "heart": ("horizontal", "vertical"),
    "moon": ("horizontal", "angle"),
}
NOVEL_AXES = {
    "circle": ("size",),
    "square": ("vertical",),
    "triangle": ("horizontal",),
    "star": ("vertical",),
    "cross": ("horizontal",),
    "heart": ("angle",),
    "moon": ("size",),
}

Part = Literal["base", "novel"]
Split = Literal["train", "val", "test"]

VIDEOS_PER_CLASS: dict[Part, dict[Split, int]] = {
    "base": {"train": 16, "val": 4, "test": 10},
    "novel": {"test": 10},
}
EXTENSIONS = (".mp4", ".avi", ".webm")


@dataclass(frozen=True)
class ToyVideo:
    """One video of the benchmark.

    video_id: unique, and the seed of its drawing; path: below the benchmark's folder, with `/`;
    motion: one of `MOTIONS`; part: whether the pair of shape and motion may be trained on.
    """

    video_id: str
    path: str
    class_name: str
    shape: str
    motion: str
    part: Part
    split: Split


def class_name(shape: str, motion: str) -> str:
    """The name of a pair, "square moving left"."""
    return f"{shape} {motion}"


def pairs(part: Part) -> list[tuple[str, str]]:
    """The (shape, motion) pairs of a part, in the official order."""
    table = BASE_AXES if part == "base" else NOVEL_AXES
    return [
        (shape, motion)
        for shape in SHAPES
        for name in table[shape]
        for motion in (AXES[name].falling, AXES[name].rising)
    ]


def toy_videos() -> list[ToyVideo]:
    """All videos in the official order: base, then novel; by class, split and number."""
    videos = []
    for part, counts in VIDEOS_PER_CLASS.items():
        for shape, motion in pairs(part):
            name = class_name(shape, motion)
            folder = name.replace(" ", "_")
            for split, count in counts.items():
                for number in range(count):
                    video_id = f"{folder}_{split}_{number:02d}"
                    extension = EXTENSIONS[number % len(EXTENSIONS)]
                    path = f"{split}/{folder}/{video_id}{extension}"
                    videos.append(ToyVideo(video_id, path, name, shape, motion, part, split))
    return videos


def toy_fingerprint() -> str:
    """Hex sha256 of the renderer and the list of videos, for the name of the cache folder."""
    return sha256_json({**RENDERER, "clips": [asdict(video) for video in toy_videos()]})
