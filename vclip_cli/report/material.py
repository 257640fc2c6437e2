"""What a report is made of: records and predictions, and what was gathered from videos and weights.

N videos, T frames, E embedding width, H W patches of a frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.predictions import Predictions


@dataclass(frozen=True)
class Missing:
    """A part that could not be made, and why, as a sentence for the page."""

    why: str


@dataclass(frozen=True, eq=False)
class Strip:
    """Frames of one video side by side in one WebP picture.

    frames: how many; indices: which of the T frames that the model saw, counted from 0.
    """

    data: bytes
    indices: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Embeddings:
    """One vector a video, as the method makes it: (N,E) float32, in the order of `videos`."""

    videos: tuple[str, ...]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class TemporalAttention:
    """Attention between frames: weights (T,T), row = frame that looks, averaged over heads."""

    module: str
    weights: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ClipAttention:
    """What the CLS token of each frame attends to in the image tower's last block.

    patches: (T,H,W), averaged over heads; cls, own: (T,), what goes to the CLS token itself and to
    tokens that the method adds. The three sum to 1 for each frame. temporal: attention between
    frames, for methods that have any. strip: the frames, where this result was made from others
    than the page shows of the clip elsewhere.
    """

    patches: NDArray[np.float32]
    cls: NDArray[np.float32]
    own: NDArray[np.float32]
    temporal: tuple[TemporalAttention, ...] = ()
    strip: Strip | None = None


@dataclass(frozen=True, eq=False)
class ResultMaterial:
    """One record with what belongs to it."""

    loaded: LoadedRecord
    predictions: Predictions | Missing
    embeddings: Embeddings | Missing = field(default_factory=lambda: Missing("Not asked for."))
    attention: Mapping[str, ClipAttention] | Missing = field(
        default_factory=lambda: Missing("Not asked for.")
    )
    remarks: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class ReportMaterial:
    """Everything of one page.

    strips: a small strip, and focus_strips: a larger one, by dataset and video. frames: why there
    are no pictures, where there are none at all. videos: for each result, the videos that are
    shown one by one.
    """

    results: Sequence[ResultMaterial]
    videos: Sequence[Sequence[str]]
    strips: Mapping[tuple[str, str], Strip] = field(default_factory=dict)
    focus_strips: Mapping[tuple[str, str], Strip] = field(default_factory=dict)
    frames: Missing | None = None
