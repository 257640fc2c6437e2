"""Drawing the toy world: outlines, backgrounds, the frames of `toy` and `toy-multi`; all seeded.

Shapes: T = `FRAMES` frames, H = W = `SIZE` pixels, N points of an outline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vclip_cli.toy.multi import CELLS, Actor, MultiVideo
from vclip_cli.toy.world import AXES, FRAMES, RENDERER_VERSION, SIZE, Axis, ToyVideo

SUPERSAMPLING = 4
"""Masks are filled at this multiple of the size and averaged down: antialiasing in integers."""
CELL = SIZE / 2
"""Side of a quarter of the frame, in pixels."""
_FRACTION_BITS = 4

COLOURS = {
    "red": (235, 70, 65),
    "green": (80, 205, 90),
    "blue": (90, 135, 250),
    "yellow": (240, 225, 80),
    "purple": (190, 105, 240),
    "orange": (245, 155, 60),
    "white": (240, 240, 240),
}
"""Names to RGB; drawn colours scatter around it. All are brighter than any background."""

Points = NDArray[np.float64]
Image = NDArray[np.uint8]
Picture = NDArray[np.float32]


@dataclass(frozen=True)
class Scene:
    """One shape at one moment: centre and radius in pixels, angle in degrees clockwise."""

    shape: str
    x: float
    y: float
    radius: float
    angle: float


def generator(name: str) -> np.random.Generator:
    """A random generator seeded by a name alone, the same in every process."""
    digest = hashlib.sha256(f"{RENDERER_VERSION}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def circle_points(degrees: NDArray[np.floating], radii: Points | float = 1.0) -> Points:
    """Points (N, 2) as x, y at angles in degrees, clockwise from the top."""
    turn = np.deg2rad(degrees)
    return np.stack([radii * np.sin(turn), -radii * np.cos(turn)], axis=1)


def _circle() -> Points:
    return circle_points(np.arange(0, 360, 10.0), 0.95)


def _square() -> Points:
    return np.array([(-0.82, -0.82), (0.82, -0.82), (0.82, 0.82), (-0.82, 0.82)])


def _triangle() -> Points:
    """Taller than wide, so that a turn by a third is visible."""
    return np.array([(0.0, -1.15), (0.85, 0.75), (-0.85, 0.75)])


def _star() -> Points:
    return circle_points(np.arange(10) * 36.0, np.where(np.arange(10) % 2 == 0, 1.15, 0.47))


def _cross() -> Points:
    corners = [(-0.32, -1.0), (0.32, -1.0), (0.32, -0.32), (1.0, -0.32), (1.0, 0.32), (0.32, 0.32)]
    return np.array(corners + [(-x, -y) for x, y in corners])


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y - 2.0], axis=1) / 15.0


def _moon() -> Points:
    """A unit disc less a disc of 0.8 around (0.5, 0): a crescent open to the right."""
    tip_x, tip_y = 0.61, np.sqrt(1 - 0.61**2)
    outer = np.linspace(np.arctan2(tip_y, tip_x), 2 * np.pi - np.arctan2(tip_y, tip_x), 32)
    cut = np.arctan2(tip_y, tip_x - 0.5)
    inner = np.linspace(2 * np.pi - cut, cut, 24)[1:-1]
    arcs = [
        np.stack([np.cos(outer), np.sin(outer)], axis=1),
        np.stack([0.5 + 0.8 * np.cos(inner), 0.8 * np.sin(inner)], axis=1),
    ]
    return np.concatenate(arcs) * 1.1


_OUTLINES: dict[str, Callable[[], Points]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "moon": _moon,
}
OUTLINES: dict[str, Points] = {name: outline() for name, outline in _OUTLINES.items()}
"""Closed polygons (N, 2) around the origin, of radius about 1."""


def placed_outline(scene: Scene) -> Points:
    """The outline (N, 2) in pixels, turned, scaled and moved to its place."""
    turn = np.deg2rad(scene.angle)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return OUTLINES[scene.shape] @ rotation * scene.radius + (scene.x, scene.y)


def to_fixed_point(points: Points) -> NDArray[np.int32]:
    """Pixels to cv2's fixed-point coordinates on the supersampled canvas."""
    scaled = (points * SUPERSAMPLING - 0.5) * (1 << _FRACTION_BITS)
    return np.round(scaled).astype(np.int32)


def blank_canvas() -> Image:
    """An empty supersampled mask."""
    return np.zeros((SIZE * SUPERSAMPLING, SIZE * SUPERSAMPLING), np.uint8)


def fill(canvas: Image, points: Points) -> None:
    """Fill a polygon (N, 2), in pixels, on a supersampled mask."""
    cv2.fillPoly(canvas, [to_fixed_point(points)], 255, shift=_FRACTION_BITS)


def stroke(canvas: Image, points: Points, width: float, closed: bool = False) -> None:
    """Draw a line through points (N, 2), in pixels, on a supersampled mask."""
    thickness = max(1, round(width * SUPERSAMPLING))
    fixed = to_fixed_point(points)
    cv2.polylines(canvas, [fixed], closed, 255, thickness, cv2.LINE_8, _FRACTION_BITS)


def average_down(canvas: Image) -> Image:
    """A supersampled mask to coverage in 0..255 (H, W)."""
    return np.asarray(cv2.resize(canvas, (SIZE, SIZE), interpolation=cv2.INTER_AREA), np.uint8)


def shape_mask(scene: Scene) -> Image:
    """Coverage of the shape in 0..255 (H, W)."""
    canvas = blank_canvas()
    fill(canvas, placed_outline(scene))
    return average_down(canvas)


def draw_colour(rng: np.random.Generator, name: str) -> Picture:
    """An RGB colour near the named one."""
    scattered = np.array(COLOURS[name]) + rng.uniform(-14, 14, 3)
    return scattered.clip(0, 255).astype(np.float32)


def draw_background(rng: np.random.Generator) -> Picture:
    """A dark background (H, W, 3) with clouds and grain."""
    mean = (rng.uniform(25, 65) + rng.uniform(-20, 20, 3)).astype(np.float32)
    cells = rng.normal(0, rng.uniform(4, 11), (6, 6, 3)).astype(np.float32)
    clouds = cv2.resize(cells, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    grain = rng.standard_normal((SIZE, SIZE, 1), dtype=np.float32) * np.float32(rng.uniform(2, 7))
    return clouds + grain + mean


def blend(under: Picture, mask: Image, colour: Picture) -> Picture:
    """Paint a colour over a picture (H, W, 3) where a mask covers it."""
    weight = mask[:, :, None].astype(np.float32) / np.float32(255)
    return under + weight * (colour - under)


def to_pixels(picture: Picture) -> Image:
    """Round to uint8."""
    return np.rint(picture).clip(0, 255).astype(np.uint8)


def reach(radius: float) -> float:
    """How far from the border a centre must stay, in pixels."""
    return 1.15 * radius + 1


def axis_of(motion: str) -> Axis:
    """The axis along which a motion goes, in one direction or the other."""
    return next(axis for axis in AXES.values() if motion in (axis.rising, axis.falling))


def _straight(
    rng: np.random.Generator, at: Scene, axis: Axis, side: float, shares: tuple[float, float]
) -> tuple[Scene, Scene]:
    """Start and end of a straight way inside a square.

    at: shape, radius, angle, and the upper left corner of the square as x, y; side: of the square,
    in pixels; shares: between which the length lies, as a share of the room.
    """
    room = side - 2 * reach(at.radius)
    travel = rng.uniform(*shares) * room
    begin = reach(at.radius) + rng.uniform(0, room - travel)
    other = reach(at.radius) + rng.uniform(0, room)
    if axis.name == "horizontal":
        first = replace(at, x=at.x + begin, y=at.y + other)
        return first, replace(first, x=first.x + travel)
    first = replace(at, x=at.x + other, y=at.y + begin)
    return first, replace(first, y=first.y + travel)


def _toy_path(rng: np.random.Generator, shape: str, axis: Axis) -> tuple[Scene, Scene]:
    """Start and end of the rise of an axis, in the whole frame."""
    radius = rng.uniform(8, 12)
    angle = rng.uniform(-12, 12)
    if axis.name in ("horizontal", "vertical"):
        return _straight(rng, Scene(shape, 0.0, 0.0, radius, angle), axis, SIZE, (0.7, 0.95))
    if axis.name == "size":
        small, large = rng.uniform(5.5, 7.5), rng.uniform(14, 18)
        x, y = rng.uniform(reach(large), SIZE - reach(large), 2)
        return Scene(shape, x, y, small, angle), Scene(shape, x, y, large, angle)
    radius = rng.uniform(10, 15)
    x, y = rng.uniform(reach(radius), SIZE - reach(radius), 2)
    half_sweep = rng.uniform(50, 80)
    first = Scene(shape, x, y, radius, angle - half_sweep)
    return first, replace(first, angle=angle + half_sweep)


def _cell_path(rng: np.random.Generator, actor: Actor, axis: Axis) -> tuple[Scene, Scene]:
    """Start and end of the rise of an axis, inside the actor's quarter of the frame."""
    row, column = actor.cell
    left, top = column * CELL, row * CELL
    angle = rng.uniform(-12, 12)
    if axis.name in ("horizontal", "vertical"):
        at = Scene(actor.shape, left, top, rng.uniform(6, 7.5), angle)
        return _straight(rng, at, axis, CELL, (0.85, 1.0))
    radius = rng.uniform(10, 12.5)
    margin = reach(radius)
    x, y = np.array([left, top]) + rng.uniform(margin, CELL - margin, 2)
    if axis.name == "size":
        first = Scene(actor.shape, x, y, rng.uniform(4.5, 6), angle)
        return first, replace(first, radius=radius)
    half_sweep = rng.uniform(50, 80)
    first = Scene(actor.shape, x, y, radius, angle - half_sweep)
    return first, replace(first, angle=angle + half_sweep)


def _progress(rng: np.random.Generator, falls: bool) -> Points:
    """Progress along the axis at each frame (T,), 0..1: still, then constant speed, then still.

    A fall is a rise shown backwards: opposite motions are exact time reversals in distribution, so
    that a set of frames without its order cannot tell them apart.
    """
    duration = rng.uniform(0.75, 1.0)
    start = rng.uniform(0, 1 - duration)
    rise = ((np.linspace(0, 1, FRAMES) - start) / duration).clip(0, 1)
    return rise[::-1] if falls else rise


def _scenes_between(first: Scene, last: Scene, progress: Points) -> list[Scene]:
    """The scenes on the straight way from `first` to `last`, at shares (T,) of it."""
    fields = ("x", "y", "radius", "angle")
    start = np.array([getattr(first, field) for field in fields])
    change = np.array([getattr(last, field) for field in fields]) - start
    return [Scene(first.shape, *(start + share * change).tolist()) for share in progress]


def scenes_of(video: ToyVideo, rng: np.random.Generator) -> list[Scene]:
    """The shape at each frame of a video."""
    axis = axis_of(video.motion)
    ends = _toy_path(rng, video.shape, axis)
    return _scenes_between(*ends, _progress(rng, falls=video.motion == axis.falling))


def draw_frames(video: ToyVideo) -> Image:
    """The frames of a video before encoding, uint8 (T, H, W, 3) RGB, seeded by the video id."""
    rng = generator(video.video_id)
    colour = draw_colour(rng, str(rng.choice(list(COLOURS))))
    background = draw_background(rng)
    return _animate(rng, background, [scenes_of(video, rng)], [colour])


def draw_multi_frames(video: MultiVideo) -> Image:
    """As `draw_frames`, for a video of `toy-multi`. Colours differ within a video."""
    rng = generator(video.video_id)
    colours = [draw_colour(rng, str(name)) for name in rng.permutation(list(COLOURS))[: len(CELLS)]]
    background = draw_background(rng)
    scenes = []
    for actor in video.actors:
        axis = axis_of(actor.motion)
        progress = _progress(rng, falls=actor.motion == axis.falling)
        scenes.append(_scenes_between(*_cell_path(rng, actor, axis), progress))
    return _animate(rng, background, scenes, colours)


def _animate(
    rng: np.random.Generator, background: Picture, scenes: list[list[Scene]], colours: list[Picture]
) -> Image:
    """The frames (T, H, W, 3) of shapes that move over a background, with flicker.

    scenes: for each shape, its scene at each frame; colours: at least as many as shapes.
    """
    flicker = rng.integers(-4, 5, (FRAMES, SIZE, SIZE, 1), dtype=np.int8)
    frames = []
    for moment, noise in zip(zip(*scenes, strict=True), flicker, strict=True):
        picture = background
        for scene, colour in zip(moment, colours, strict=False):
            picture = blend(picture, shape_mask(scene), colour)
        frames.append(to_pixels(picture + noise))
    return np.stack(frames)
