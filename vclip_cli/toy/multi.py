"""The list of videos of `toy-multi`: each shows two or three shapes, each with its own motion.

This file draws nothing. There are two kinds of labels: entities, "square", and actions, "square
growing". The unseen actions are the pairs that `toy` never trains on; the unseen entities are star
and moon. Videos of every split hold seen and unseen labels, as films do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from vclip_cli.common.files import sha256_bytes, sha256_json
from vclip_cli.toy.world import EXTENSIONS, RENDERER, SHAPES, class_name, pairs

MULTI_VERSION = 1
"""Raised when the pixels or labels of a video change; part of `multi_fingerprint`."""
VIDEOS = {"train": 240, "validation": 48, "test": 112}
CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of the quarters of the frame. Each shape stays in a quarter of its own."""


@dataclass(frozen=True)
class Actor:
    """One shape of a video, its motion, and the quarter of the frame where it stays."""

    shape: str
    motion: str
    cell: tuple[int, int]


@dataclass(frozen=True)
class MultiVideo:
    """One video. video_id: unique, and the seed of its drawing; split: the official one."""

    video_id: str
    path: str
    actors: tuple[Actor, ...]
    split: str

    @property
    def labels(self) -> list[str]:
        """The entities, then the actions."""
        actions = [class_name(actor.shape, actor.motion) for actor in self.actors]
        return [actor.shape for actor in self.actors] + actions


def multi_videos() -> list[MultiVideo]:
    """All videos in the official order: by split and number."""
    return [_video(split, number) for split, count in VIDEOS.items() for number in range(count)]


def _video(split: str, number: int) -> MultiVideo:
    video_id = f"multi_{split}_{number:03d}"
    digest = sha256_bytes(f"{MULTI_VERSION}/{video_id}/actors".encode())
    rng = np.random.default_rng(int(digest[:32], 16))
    every = pairs("base") + pairs("novel")
    shapes = [str(shape) for shape in rng.permutation(SHAPES)[: int(rng.integers(2, 4))]]
    motions = [[motion for shape, motion in every if shape == own] for own in shapes]
    cells = rng.permutation(len(CELLS))
    actors = tuple(
        Actor(shape, str(rng.choice(known)), CELLS[int(cell)])
        for shape, known, cell in zip(shapes, motions, cells, strict=False)
    )
    path = f"{split}/{video_id}{EXTENSIONS[number % len(EXTENSIONS)]}"
    return MultiVideo(video_id, path, actors, split)


def multi_fingerprint() -> str:
    """Hex sha256 of the versions and the list of videos, for the name of the cache folder."""
    clips = [asdict(video) for video in multi_videos()]
    return sha256_json({**RENDERER, "multi": MULTI_VERSION, "clips": clips})
