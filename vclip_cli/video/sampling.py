"""Which frames of a video are used: functions of its frame count n, in integers only.

Shapes: V views, T frames a view. Every index lies in 0..n-1.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import UsageError, did_you_mean

Rule = Literal["uniform", "random", "dense"]
Indices = NDArray[np.int64]
MOST_FRAMES = 16_384
"""Most frames over all clips of a video; published settings use up to 32 x 10."""


def midpoint_indices(n: int, frames: int) -> Indices:
    """The midpoints of T equal segments, floor(i·n/T + n/(2T)): shape (T,).

    The one-view test sampling of X-CLIP and ViFi-CLIP. Frames repeat where n < T.
    """
    return view_indices(n, frames, 1)[0]


def view_indices(n: int, frames: int, clips: int) -> Indices:
    """V interleaved views, index[v, i] = floor((i + (2v+1)/(2V)) · n / T): shape (V, T).

    Each of the T segments is cut into V equal parts and view v takes the midpoint of part v, so
    that V views of T frames use the same places as one view of V·T frames.
    """
    _at_least_one(n=n, frames=frames, clips=clips)
    part = np.arange(frames, dtype=np.int64) * 2 * clips
    middle = 2 * np.arange(clips, dtype=np.int64)[:, None] + 1
    return (part + middle) * n // (2 * clips * frames)


def random_segment_indices(
    n: int, frames: int, rng: np.random.Generator, candidates: int | None = None
) -> Indices:
    """One random frame out of each of T segments of floor(n/T) frames: shape (T,).

    The training sampling of X-CLIP and ViFi-CLIP: the last n mod T frames are never drawn, and
    where n < T the indices are round(i·n/T) modulo n, which is not random.

    candidates: K, where a frame store keeps K frames of each segment: the same draw is then moved
    to the middle of its part of the segment (`segment_candidates`). None, or K of floor(n/T) or
    more, leaves it as it is.
    """
    _at_least_one(n=n, frames=frames)
    length = n // frames
    if length == 0:
        return _of_short_video(n, frames)
    drawn = rng.integers(length, size=frames)
    parts = length if candidates is None else min(candidates, length)
    middles = _middle_of_part(drawn * parts // length, length, parts)
    return np.arange(frames, dtype=np.int64) * length + middles


def segment_candidates(n: int, frames: int, candidates: int) -> Indices:
    """All frames that `random_segment_indices` may draw with K candidates per segment: at most T·K.

    Each segment of floor(n/T) frames is cut into K equal parts, and the middle of each is kept. A
    segment of at most K frames is kept whole. Where n < T there is nothing to draw.
    """
    _at_least_one(n=n, frames=frames, candidates=candidates)
    length = n // frames
    if length == 0:
        return _of_short_video(n, frames)
    parts = min(candidates, length)
    middles = _middle_of_part(np.arange(parts, dtype=np.int64), length, parts)
    return (np.arange(frames, dtype=np.int64)[:, None] * length + middles).ravel()


def _of_short_video(n: int, frames: int) -> Indices:
    """round(i·n/T) modulo n, for a video of n < T frames."""
    return np.rint(np.arange(frames, dtype=np.int64) * (n / frames)).astype(np.int64) % n


def _middle_of_part(part: Indices, length: int, parts: int) -> Indices:
    """The frame in the middle of each of `parts` equal parts of a segment of `length` frames."""
    return (2 * part + 1) * length // (2 * parts)


def dense_indices(n: int, frames: int, stride: int, clips: int) -> Indices:
    """V clips of every `stride`-th frame, spread from the first to the last start: shape (V, T).

    The test sampling of Vita-CLIP. A single clip lies in the middle; the last frame of a video that
    is too short is repeated.
    """
    _at_least_one(n=n, frames=frames, stride=stride, clips=clips)
    slide = max(n - ((frames - 1) * stride + 1), 0)
    if clips == 1:
        starts = [slide // 2]
    else:
        starts = [round(slide / (clips - 1) * clip) for clip in range(clips)]
    steps = np.arange(frames, dtype=np.int64) * stride
    return np.minimum(np.array(starts, dtype=np.int64)[:, None] + steps, n - 1)


@dataclass(frozen=True)
class Sampling:
    """How many views of how many frames, and by which rule they are chosen.

    rule: `uniform` (`view_indices`), `dense` (`dense_indices`, the only rule with a `stride`), or
      `random` (`random_segment_indices`), which is for training.
    """

    frames: int
    clips: int = 1
    rule: Rule = "uniform"
    stride: int = 1

    def __post_init__(self) -> None:
        _at_least_one(frames=self.frames, clips=self.clips, stride=self.stride)
        if self.frames * self.clips > MOST_FRAMES or self.stride > MOST_FRAMES:
            raise UsageError(
                "too many frames of a video",
                found=f"{self.clips:,} clips of {self.frames:,} frames, stride {self.stride:,}",
                expected=f"at most {MOST_FRAMES:,} in all",
            )
        rules = get_args(Rule)
        if self.rule not in rules:
            raise UsageError(
                f"unknown sampling rule {self.rule!r}", hint=did_you_mean(self.rule, rules)
            )
        if self.stride != 1 and self.rule != "dense":
            raise UsageError("a stride needs the sampling rule 'dense'", found=repr(self.rule))

    def indices(self, n: int) -> Indices:
        """The indices for a video of n frames: shape (V, T).

        Raises UsageError for the rule `random`, which is for training (`random_segment_indices`).
        """
        if self.rule == "dense":
            return dense_indices(n, self.frames, self.stride, self.clips)
        if self.rule == "uniform":
            return view_indices(n, self.frames, self.clips)
        raise UsageError("the sampling rule 'random' is for training only")

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form, for records."""
        return asdict(self)


def _at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            what = "the number of frames in the video" if name == "n" else f"'{name}'"
            raise UsageError(f"{what} must be at least 1", found=str(value))
