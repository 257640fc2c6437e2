"""The list of clips of `toy-multi`: two or three shapes a clip, each with its own motion.

Nothing here draws. Labels are of two kinds: entities, "square", and actions, "square growing". The
pairs that `toy` never trains on are the unseen actions here, and two shapes are unseen as entities;
clips of every split hold seen and unseen ones alike, as films do.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from vclip_cli.common.files import sha256_bytes, sha256_json
from vclip_cli.toy.world import (
    EXTENSIONS,
    FRAMES,
    RATE,
    RENDERER_VERSION,
    SHAPES,
    SIZE,
    class_name,
    pairs,
)

MULTI_VERSION = 1
"""Raised whenever a clip's pixels or labels change; `multi_fingerprint` covers it."""
MULTI_CLIPS = {"train": 240, "validation": 48, "test": 112}
UNSEEN_ENTITIES = ("star", "moon")
CELLS = ((0, 0), (0, 1), (1, 0), (1, 1))
"""Row and column of the quarters of the frame; each shape keeps to one of its own."""


@dataclass(frozen=True)
class Actor:
    """One shape of a clip, what it does, and the quarter of the frame that it keeps to."""

    shape: str
    motion: str
    cell: tuple[int, int]


@dataclass(frozen=True)
class MultiClip:
    """One clip. video_id: unique, and the seed of all that is drawn; split: official."""

    video_id: str
    path: str
    actors: tuple[Actor, ...]
    split: str

    @property
    def labels(self) -> list[str]:
        """The entities, then the actions."""
        actions = [class_name(actor.shape, actor.motion) for actor in self.actors]
        return [actor.shape for actor in self.actors] + actions


def multi_clips() -> list[MultiClip]:
    """All clips in the official order: by split and number."""
    return [_clip(split, number) for split, count in MULTI_CLIPS.items() for number in range(count)]


def _clip(split: str, number: int) -> MultiClip:
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
    return MultiClip(video_id, path, actors, split)


def entities() -> list[str]:
    """The shapes, as labels."""
    return list(SHAPES)


def actions() -> list[str]:
    """The pairs of shape and motion, those that `toy` trains on first."""
    return [class_name(*pair) for part in ("base", "novel") for pair in pairs(part)]


def unseen_labels() -> list[str]:
    """The labels that no training may use: two entities, and the pairs that are new in `toy`."""
    return [*UNSEEN_ENTITIES, *(class_name(*pair) for pair in pairs("novel"))]


def multi_fingerprint() -> str:
    """Hex sha256 of versions and clips: a key for cache folders."""
    return sha256_json(
        {
            "renderer": RENDERER_VERSION,
            "multi": MULTI_VERSION,
            "size": SIZE,
            "frames": FRAMES,
            "rate": RATE,
            "clips": [asdict(clip) for clip in multi_clips()],
        }
    )
