"""Several labels per video: probabilities from logits, decisions by a threshold, and their F1.

Shapes: N videos, K labels, R weightings of the videos. A label is decided for a video where its
probability is at least the threshold. All results are shares in 0..1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.results.metric import Metric, ScoredVideos, Weighted
from vclip_cli.results.scores import divide, mean_of_known

BINS = 15
"""Bins of equal width for the calibration error: the usual number."""
DEFAULT_THRESHOLD = 0.5
Floats = NDArray[np.float64]


def best_threshold(probabilities: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """The threshold with the highest micro F1; of equally good ones the highest.

    It lies midway between two probabilities. Raises DataError when no video has a label.
    """
    if not positive.any():
        raise DataError("no video has a label, so no threshold can be chosen")
    values = np.asarray(probabilities, dtype=np.float64).ravel()
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(positive.ravel()[order])
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    scores = 2 * hits[ends] / (ends + 1 + hits[-1])
    end = ends[int(np.argmax(scores))]
    below = ranked[end + 1] if end + 1 < len(ranked) else 0.0
    return float((ranked[end] + below) / 2)


def fit_sigmoid(logits: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, bias) of p = sigmoid(slope · (logit - bias)) with the highest likelihood.

    One pair for all labels; the slope is above 0, so no ranking changes. This is Platt scaling with
    Platt's softened targets, which keep the slope finite. Raises DataError if all pairs are
    positive, or all negative.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    values = np.asarray(logits, dtype=np.float64).ravel()
    true = positive.ravel()
    hits, misses = int(true.sum()), int((~true).sum())
    if not hits or not misses:
        raise DataError("a sigmoid is fitted to pairs of both kinds, true and false")
    middle, spread = float(values.mean()), float(values.std()) or 1.0
    scaled = (values - middle) / spread
    target = np.where(true, (hits + 1) / (hits + 2), 1 / (misses + 2))

    def loss(parts: Floats) -> tuple[float, Floats]:
        slope = float(np.exp(np.clip(parts[0], -10, 10)))
        inner = slope * scaled + parts[1]
        surprise = np.logaddexp(0, inner) - target * inner
        error = (expit(inner) - target) / len(scaled)
        return float(surprise.mean()), np.array([(error * scaled).sum() * slope, error.sum()])

    found = minimize(loss, np.array([0.0, np.log(hits / misses)]), jac=True, method="BFGS").x
    slope = float(np.exp(np.clip(found[0], -10, 10)))
    return slope / spread, middle - spread * float(found[1]) / slope


class DecisionMetric(Metric):
    """The base of metrics of label probabilities and of decisions by a threshold."""

    kinds = ("multi-label",)
    chosen = False
    """Whether decisions use the threshold of the validation part instead of 0.5."""

    def decided(self, scored: ScoredVideos) -> NDArray[np.bool_]:
        """Which labels (N,K) each video is given. Raises DataError without a chosen threshold."""
        threshold = scored.threshold if self.chosen else DEFAULT_THRESHOLD
        if threshold is None:
            raise DataError(
                f"the metric {self.name!r} needs a threshold",
                expected="a dataset with a validation part, on which the threshold is chosen",
            )
        return scored.probabilities >= threshold

    def numbers_per_video(self, scored: ScoredVideos) -> int:
        """The bins of the calibration error."""
        return BINS


class MacroF1(DecisionMetric):
    """The mean F1, 2TP / (2TP + FP + FN), of the labels that have a positive video."""

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """Macro F1 of the weighted videos."""
        decided, positive = self.decided(scored), scored.positive
        parts = [p.astype(float) for p in (decided & positive, decided, positive)]

        def measure(weights: NDArray[Any]) -> Floats:
            right, chosen, true = (weights.T @ part for part in parts)
            return mean_of_known(divide(2.0 * right, np.where(true > 0, chosen + true, 0)))

        return measure


class MicroF1(DecisionMetric):
    """F1 of all (video, label) pairs together."""

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """Micro F1 of the weighted videos."""
        decided, positive = self.decided(scored), scored.positive
        parts = [p.sum(axis=1) for p in (decided & positive, decided, positive)]

        def measure(weights: NDArray[Any]) -> Floats:
            right, chosen, true = (weights.T @ part for part in parts)
            return 2.0 * right / np.maximum(chosen + true, 1)

        return measure
