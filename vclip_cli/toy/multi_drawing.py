"""The frames of a `toy-multi` clip: several shapes, each moving within its quarter of the frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vclip_cli.toy.drawing import (
    COLOURS,
    Image,
    Scene,
    blend,
    draw_background,
    draw_colour,
    generator,
    progress_of,
    reach,
    scenes_between,
    shape_mask,
    to_pixels,
)
from vclip_cli.toy.multi import CELLS, Actor, MultiClip
from vclip_cli.toy.world import AXES, FRAMES, SIZE, Axis

CELL = SIZE / 2
"""Side of a quarter of the frame, in pixels."""


def _path(rng: np.random.Generator, actor: Actor, axis: Axis) -> tuple[Scene, Scene]:
    """Where the rise of an axis starts and ends, inside the actor's quarter."""
    row, column = actor.cell
    left, top = column * CELL, row * CELL
    angle = rng.uniform(-12, 12)
    if axis.name in ("horizontal", "vertical"):
        radius = rng.uniform(6, 7.5)
        room = CELL - 2 * reach(radius)
        travel = rng.uniform(0.85, 1.0) * room
        begin = reach(radius) + rng.uniform(0, room - travel)
        other = reach(radius) + rng.uniform(0, room)
        if axis.name == "horizontal":
            first = Scene(actor.shape, left + begin, top + other, radius, angle)
            return first, replace(first, x=first.x + travel)
        first = Scene(actor.shape, left + other, top + begin, radius, angle)
        return first, replace(first, y=first.y + travel)
    radius = rng.uniform(10, 12.5)
    margin = reach(radius)
    x, y = np.array([left, top]) + rng.uniform(margin, CELL - margin, 2)
    if axis.name == "size":
        first = Scene(actor.shape, x, y, rng.uniform(4.5, 6), angle)
        return first, replace(first, radius=radius)
    half_sweep = rng.uniform(50, 80)
    first = Scene(actor.shape, x, y, radius, angle - half_sweep)
    return first, replace(first, angle=angle + half_sweep)


def draw_multi_frames(clip: MultiClip) -> Image:
    """The frames of a clip before encoding, uint8 (T,H,W,3), RGB; seeded by the video id alone.

    Colours differ within a clip. As in `toy`, a fall is a rise shown backwards.
    """
    rng = generator(clip.video_id)
    colours = [draw_colour(rng, str(name)) for name in rng.permutation(list(COLOURS))[: len(CELLS)]]
    background = draw_background(rng)
    scenes = []
    for actor in clip.actors:
        axis = next(axis for axis in AXES.values() if actor.motion in (axis.rising, axis.falling))
        progress = progress_of(rng)
        if actor.motion == axis.falling:
            progress = progress[::-1]
        scenes.append(scenes_between(*_path(rng, actor, axis), progress))
    flicker = rng.integers(-4, 5, (FRAMES, SIZE, SIZE, 1), dtype=np.int8)
    frames = []
    for moment, noise in zip(zip(*scenes, strict=True), flicker, strict=True):
        picture = background
        for scene, colour in zip(moment, colours, strict=False):
            picture = blend(picture, shape_mask(scene), colour)
        frames.append(to_pixels(picture + noise))
    return np.stack(frames)
