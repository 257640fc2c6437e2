"""Every clip of a result by itself: its truth, its best classes, whether it is right, how hard.

N videos, K classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.predictions import Predictions
from vclip_cli.results.ranking import average_precision
from vclip_cli.results.scores import class_indices, label_matrix

BEST = 5
SUM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class ClipScores:
    """The clips of one result, in the order of its predictions.

    truth: the indices of each clip's labels. best: (N,k) indices of the best classes, scores:
    (N,k) theirs. right: the best class is a label. ease: for single labels the probability of the
    truth, for several the average precision of the clip's own ranking; low is hard. mistake: the
    highest score of a class that is no label, where that class is the best one, else -inf.
    """

    truth: tuple[tuple[int, ...], ...]
    best: NDArray[np.int64]
    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    ease: NDArray[np.float64]
    mistake: NDArray[np.float64]


def clip_scores(predictions: Predictions, multi_label: bool) -> ClipScores:
    """The facts of every clip. Raises DataError for labels that are not among the classes."""
    scores, names = predictions.scores, predictions.classes
    best = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]  # ties in class order
    if multi_label:
        positive = label_matrix(predictions.labels, names)
        ease = np.array(
            [
                average_precision(row, true)[0] if true.any() else np.nan
                for row, true in zip(scores, positive, strict=True)
            ]
        )
    else:
        targets = class_indices(predictions.labels, names)
        positive = np.zeros(scores.shape, bool)
        positive[np.arange(len(targets)), targets] = True
        ease = scores[np.arange(len(targets)), targets].astype(np.float64)
    rows = np.arange(len(scores))
    right = positive[rows, best[:, 0]]
    top = scores[rows, best[:, 0]].astype(np.float64)
    return ClipScores(
        truth=tuple(tuple(np.flatnonzero(row).tolist()) for row in positive),
        best=best,
        scores=np.take_along_axis(scores, best, axis=1),
        right=right,
        ease=ease,
        mistake=np.where(right, -np.inf, top),
    )


def are_probabilities(predictions: Predictions) -> bool:
    """Whether the scores of each video are in 0..1 and sum to 1."""
    scores = predictions.scores
    sums = scores.sum(axis=1, dtype=np.float64)
    inside = (scores >= 0).all() and (scores <= 1 + SUM_TOLERANCE).all()
    return bool(inside and (np.abs(sums - 1) <= SUM_TOLERANCE).all())


def hardest(clips: ClipScores, count: int) -> NDArray[np.int64]:
    """The positions of the clips whose truth scores lowest, hardest first; ties as listed."""
    order = np.argsort(clips.ease, kind="stable")
    return order[: min(count, int((~np.isnan(clips.ease)).sum()))]


def most_confident_mistakes(clips: ClipScores, count: int) -> NDArray[np.int64]:
    """The positions of the wrong clips with the highest best score, most confident first."""
    order = np.argsort(-clips.mistake, kind="stable")
    return order[: min(count, int((~clips.right).sum()))]


def easiest(clips: ClipScores, count: int) -> NDArray[np.int64]:
    """The positions of right clips whose truth scores highest, best first."""
    chosen = np.flatnonzero(clips.right & ~np.isnan(clips.ease))
    return chosen[np.argsort(-clips.ease[chosen], kind="stable")][:count]
