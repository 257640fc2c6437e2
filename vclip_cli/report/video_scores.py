"""Every video of a result by itself: its truth, its best classes, whether it is right, how hard.

This decides which videos a page shows one by one, and which classes are confused. Shapes: N videos,
K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vclip_cli.report.material import Missing
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.scores import average_precision, label_matrix

BEST = 5
HARDEST = 12
EASIEST = 6
SUM_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class VideoScores:
    """The videos of one result, in the order of its predictions.

    truth: the indices of each video's labels. best: (N,k) indices of the best classes, scores:
    (N,k) their scores. right: whether the best class is a label. ease: for one label a video the
    probability of the truth, for several the average precision of the video's own ranking; low is
    hard. mistake: the best score where the best class is not a label, else -inf.
    """

    truth: tuple[tuple[int, ...], ...]
    best: NDArray[np.int64]
    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    ease: NDArray[np.float64]
    mistake: NDArray[np.float64]


def video_scores(predictions: Predictions, multi_label: bool) -> VideoScores:
    """The facts of every video. Raises DataError for labels that are not among the classes."""
    scores, names = predictions.scores, predictions.classes
    best = np.argsort(-scores, axis=1, kind="stable")[:, :BEST]  # ties in class order
    positive = label_matrix(predictions.labels, names, single=not multi_label)
    if multi_label:
        ease = np.array(
            [
                average_precision(row, true)[0] if true.any() else np.nan
                for row, true in zip(scores, positive, strict=True)
            ]
        )
    else:
        ease = scores[positive].astype(np.float64)  # one a row, in order
    rows = np.arange(len(scores))
    right = positive[rows, best[:, 0]]
    top = scores[rows, best[:, 0]].astype(np.float64)
    return VideoScores(
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


def hardest(scored: VideoScores, count: int) -> NDArray[np.int64]:
    """The positions of the videos whose truth scores lowest, hardest first; ties in list order."""
    order = np.argsort(scored.ease, kind="stable")
    return order[: min(count, int((~np.isnan(scored.ease)).sum()))]


def most_confident_mistakes(scored: VideoScores, count: int) -> NDArray[np.int64]:
    """The positions of the wrong videos with the highest best score, most confident first."""
    order = np.argsort(-scored.mistake, kind="stable")
    return order[: min(count, int((~scored.right).sum()))]


def easiest(scored: VideoScores, count: int) -> NDArray[np.int64]:
    """The positions of right videos whose truth scores highest, best first."""
    chosen = np.flatnonzero(scored.right & ~np.isnan(scored.ease))
    return chosen[np.argsort(-scored.ease[chosen], kind="stable")][:count]


def confusions(scored: VideoScores, classes: int) -> list[tuple[int, int, int]]:
    """(true class, best class, videos) of every pair that occurs; for one label a video only."""
    truth = np.array([labels[0] for labels in scored.truth], dtype=np.int64)
    pairs, counts = np.unique(truth * classes + scored.best[:, 0], return_counts=True)
    return [
        (int(pair) // classes, int(pair) % classes, int(count))
        for pair, count in zip(pairs, counts, strict=True)
    ]


@dataclass(frozen=True)
class Shown:
    """videos: shown one by one, in the order of the predictions; focus: those shown large."""

    videos: tuple[str, ...]
    focus: tuple[str, ...]


def select_videos(
    results: Sequence[Predictions | Missing], multi_label: Sequence[bool], limit: int
) -> list[Shown]:
    """For each result the videos to show: its hardest, most confident wrong and easiest ones, and
    others evenly over its classes until all results together have `limit` of them."""
    counted = [entry for entry in results if isinstance(entry, Predictions)]
    quota = max(1, limit // max(1, len({entry.videos for entry in counted})))
    chosen: list[Shown] = []
    for entry, multi in zip(results, multi_label, strict=True):
        if isinstance(entry, Missing):
            chosen.append(Shown((), ()))
            continue
        focus = focus_positions(entry, multi)
        wanted = set(focus) | set(_even(entry, quota))
        chosen.append(
            Shown(
                tuple(entry.videos[position] for position in sorted(wanted)),
                tuple(entry.videos[position] for position in focus),
            )
        )
    return chosen


def focus_positions(predictions: Predictions, multi_label: bool) -> list[int]:
    """The videos that are shown large and whose attention is computed, each once."""
    scored = video_scores(predictions, multi_label)
    parts = (
        hardest(scored, HARDEST),
        most_confident_mistakes(scored, HARDEST),
        easiest(scored, EASIEST),
    )
    return list(dict.fromkeys(np.concatenate(parts).tolist()))


def _even(predictions: Predictions, count: int) -> list[int]:
    """Positions evenly spread over the videos sorted by class, so that every class is shown."""
    total = len(predictions.videos)
    order = sorted(range(total), key=lambda row: (predictions.labels[row], predictions.videos[row]))
    if count >= total:
        return order
    return [order[index * total // count] for index in range(count)]
