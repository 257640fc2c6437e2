"""Captioned stills of the toy world, for training the tiny CLIP.

Half of them are plain, like the frames of the videos. The other half have motion lines as in comics
(streaks behind a moving shape, arrows around a growing one), which no video has, and a caption that
names the motion. So the text tower learns to distinguish the motions, and the image tower learns
what a still can show: shape, colour, place, size and angle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vclip_cli.toy.drawing import (
    COLOURS,
    Image,
    Scene,
    average_down,
    blank_canvas,
    blend,
    circle_points,
    draw_background,
    draw_colour,
    fill,
    placed_outline,
    reach,
    shape_mask,
    stroke,
    to_pixels,
)
from vclip_cli.toy.world import MOTIONS, SHAPES, SIZE, class_name

PREFIXES = (
    "a photo of ",
    "a photo of ",
    "a picture of ",
    "an image of ",
    "a drawing of ",
    "a frame of ",
    "a video of ",
    "",
    "",
)
"""Starts of captions; the empty ones give "a square." and "square"."""

COLUMNS = ("far left", "left", "centre", "right", "far right")
ROWS = ("very top", "top", "middle", "bottom", "very bottom")
SIZES = ("tiny", "small", "medium", "big", "huge")
TILTS = ("far anticlockwise", "anticlockwise", "upright", "clockwise", "far clockwise")
_SIZE_LIMITS = (7.0, 9.5, 12.0, 14.5)
_TILT_LIMITS = (-50.0, -18.0, 18.0, 50.0)
_PLACE_LIMITS = (18.0, 27.0, 37.0, 46.0)
_TRAIL_ROOM = 7.0

FACETS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(f"{colour} shape" for colour in COLOURS),
    "size": tuple(f"{size} shape" for size in SIZES),
    "column": tuple(f"shape at the {column}" for column in COLUMNS),
    "row": tuple(f"shape at the {row}" for row in ROWS),
    "tilt": tuple(f"shape tilted {tilt}" for tilt in TILTS),
    "motion": tuple(f"shape {motion}" for motion in MOTIONS),
    "pair": tuple(class_name(shape, motion) for shape in SHAPES for motion in MOTIONS),
}
"""Facets of a still and their phrases: one phrase of each list is true, or none."""


@dataclass(frozen=True)
class Still:
    """A picture, uint8 (H, W, 3) RGB, and the facts about it."""

    pixels: Image
    scene: Scene
    colour: str
    motion: str | None

    @property
    def size(self) -> str:
        """The word for the shape's size."""
        return SIZES[np.searchsorted(_SIZE_LIMITS, self.scene.radius)]

    @property
    def column(self) -> str:
        """The word for the shape's place from left to right."""
        return COLUMNS[np.searchsorted(_PLACE_LIMITS, self.scene.x)]

    @property
    def row(self) -> str:
        """The word for the shape's place from top to bottom."""
        return ROWS[np.searchsorted(_PLACE_LIMITS, self.scene.y)]

    @property
    def tilt(self) -> str | None:
        """The word for the shape's angle; None for a circle."""
        if self.scene.shape == "circle":
            return None
        return TILTS[np.searchsorted(_TILT_LIMITS, self.scene.angle)]

    def facets(self) -> list[int]:
        """The index of the true phrase in each list of `FACETS`, -1 where none is true."""
        shape = SHAPES.index(self.scene.shape)
        motion = -1 if self.motion is None else MOTIONS.index(self.motion)
        return [
            shape,
            list(COLOURS).index(self.colour),
            SIZES.index(self.size),
            COLUMNS.index(self.column),
            ROWS.index(self.row),
            -1 if self.tilt is None else TILTS.index(self.tilt),
            motion,
            -1 if self.motion is None else shape * len(MOTIONS) + motion,
        ]


def draw_still(rng: np.random.Generator) -> Still:
    """A fresh random still, plain or with motion lines, with the noise of a video codec."""
    motion = str(rng.choice(MOTIONS)) if rng.random() < 0.5 else None
    scene = _draw_scene(rng, motion)
    name = str(rng.choice(list(COLOURS)))
    colour = draw_colour(rng, name)
    background = draw_background(rng)
    picture = blend(background, shape_mask(scene), colour)
    if motion is not None:
        picture = blend(picture, _motion_lines(rng, scene, motion), draw_colour(rng, "white"))
    flicker = rng.integers(-4, 5, (SIZE, SIZE, 1), dtype=np.int8)
    return Still(_compress(rng, to_pixels(picture + flicker)), scene, name, motion)


def draw_caption(rng: np.random.Generator, still: Still) -> str:
    """A caption with some of the facts: "a photo of a small red square moving left."."""
    words = [still.scene.shape]
    if rng.random() < 0.8:
        if rng.random() < 0.4:
            words.insert(0, still.colour)
        if rng.random() < 0.4:
            words.insert(0, still.size)
        if still.motion is not None and rng.random() < 0.9:
            words.append(still.motion)
        if rng.random() < 0.4:
            words.append(f"at the {still.column}")
        if rng.random() < 0.4:
            words.append(f"at the {still.row}")
        if still.tilt is not None and rng.random() < 0.3:
            words.append(f"tilted {still.tilt}")
    elif still.motion is not None:
        words.append(still.motion)
    return draw_sentence(rng, " ".join(words))


def draw_sentence(rng: np.random.Generator, phrase: str) -> str:
    """A phrase after one of the prefixes, or alone."""
    prefix = str(rng.choice(PREFIXES))
    if not prefix and rng.random() < 0.5:
        return phrase
    article = "an" if phrase[0] in "aeiou" else "a"
    return f"{prefix}{article} {phrase}."


def caption_words() -> list[str]:
    """Every word and sign that a caption can contain."""
    phrases = [*PREFIXES, *(phrase for bank in FACETS.values() for phrase in bank)]
    return sorted({"a", "an", "."}.union(*(phrase.split() for phrase in phrases)))


def _draw_scene(rng: np.random.Generator, motion: str | None) -> Scene:
    shape = str(rng.choice(SHAPES))
    radius = rng.uniform(5.5, 18) if motion is None else rng.uniform(7, 13)
    border = reach(radius) + (0 if motion is None else _TRAIL_ROOM)
    x, y = rng.uniform(border, SIZE - border, 2)
    turns = shape in ("triangle", "heart", "moon") and rng.random() < 0.75
    angle = rng.uniform(-92, 92) if turns else rng.uniform(-12, 12)
    return Scene(shape, x, y, radius, angle)


def _motion_lines(rng: np.random.Generator, scene: Scene, motion: str) -> Image:
    """Motion lines around a shape, as coverage in 0..255 (H, W)."""
    canvas = blank_canvas()
    width = rng.uniform(1.0, 1.7)
    if motion.startswith("moving"):
        heading = {"up": 0.0, "right": 90.0, "down": 180.0, "left": 270.0}[motion.split()[1]]
        _streaks(rng, canvas, scene, heading, width)
    elif motion.startswith("spinning"):
        _turning_arrows(canvas, scene, motion == "spinning clockwise", width)
    else:
        _size_arrows(canvas, scene, motion == "growing", width)
    return average_down(canvas)


def _centre(scene: Scene) -> NDArray[np.float64]:
    return np.array([scene.x, scene.y])


def _streaks(
    rng: np.random.Generator, canvas: Image, scene: Scene, heading: float, width: float
) -> None:
    """Three parallel lines behind the shape."""
    ahead, aside = circle_points(np.array([heading, heading + 90.0]))
    for offset in (-0.6, 0.0, 0.6):
        begin = _centre(scene) + aside * offset * scene.radius - ahead * (scene.radius + 2)
        stroke(canvas, np.stack([begin, begin - ahead * rng.uniform(6, 13)]), width)


def _size_arrows(canvas: Image, scene: Scene, grows: bool, width: float) -> None:
    """Four arrows outwards and the old outline within; or inwards and the old outline around."""
    near, far = scene.radius * 1.25 + 1, scene.radius * 1.25 + 7
    for direction in circle_points(np.array([45.0, 135.0, 225.0, 315.0])):
        ends = _centre(scene) + np.outer([near, far] if grows else [far, near], direction)
        _arrow(canvas, ends, width)
    old = replace(scene, radius=scene.radius * (0.55 if grows else 1.45))
    stroke(canvas, placed_outline(old), width * 0.7, closed=True)


def _turning_arrows(canvas: Image, scene: Scene, clockwise: bool, width: float) -> None:
    """Two arcs around the shape, each with a head in the direction of the turn."""
    sweep = np.linspace(0, 90, 9) * (1 if clockwise else -1)
    for begin in (0.0, 180.0):
        points = _centre(scene) + circle_points(begin + sweep, scene.radius * 1.3 + 1.5)
        _arrow(canvas, points, width)


def _arrow(canvas: Image, points: NDArray[np.float64], width: float) -> None:
    """A line through points (N, 2) with a head at the last one."""
    stroke(canvas, points, width)
    along = points[-1] - points[-2]
    along = along / np.linalg.norm(along)
    across = np.array([-along[1], along[0]])
    tip = points[-1] + along * 2.2
    fill(
        canvas,
        np.stack([tip, points[-1] - along + across * 2.6, points[-1] - along - across * 2.6]),
    )


def _compress(rng: np.random.Generator, pixels: Image) -> Image:
    """JPEG losses, which are like a video codec's: blocks and halved colour resolution."""
    if rng.random() < 0.25:
        return pixels
    quality = int(rng.integers(55, 96))
    data = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(np.asarray(decoded, np.uint8)[:, :, ::-1])
