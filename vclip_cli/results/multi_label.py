"""Several labels a video: what probabilities and decisions by a threshold are worth.

N videos, K labels; probabilities (N,K) in 0..1, each label by itself; positive (N,K) booleans. A
label is decided for a video where its probability is at least the threshold. Functions named after
a statistic give plain fractions; `evaluate_labels` gives what a record holds, in %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.results.intervals import resampled_weights, standard_error_interval
from vclip_cli.results.measure import Evaluation, Metric
from vclip_cli.results.metrics import RANKING_RESAMPLES, evaluate_multi_label
from vclip_cli.results.scores import check_scores, label_matrix

BINS = 15
"""Of equal width, for the calibration error: the customary number."""
RANKS = (1, 5)
DEFAULT_THRESHOLD = 0.5
Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]


def f1_scores(decided: Booleans, positive: Booleans) -> Floats:
    """F1 (K,) of each label, 2TP / (2TP + FP + FN); NaN for a label without a positive video."""
    right = (decided & positive).sum(axis=0)
    return _f1(right, decided.sum(axis=0), positive.sum(axis=0))


def macro_f1(decided: Booleans, positive: Booleans) -> float:
    """The mean F1 of the labels that have a positive video."""
    return float(np.nanmean(f1_scores(decided, positive)))


def micro_f1(decided: Booleans, positive: Booleans) -> float:
    """F1 of all (video, label) pairs together."""
    right = (decided & positive).sum()
    return float(2 * right / max(decided.sum() + positive.sum(), 1))


def precision_at(scores: NDArray[Any], positive: Booleans, k: int) -> float:
    """The mean over videos of the true share of the k labels that score highest (all, if K < k).

    A video without a label counts as 0; equal scores rank in the order of the labels.
    """
    return float(_hits_at(scores, positive, k).mean())


def expected_calibration_error(
    probabilities: NDArray[Any], positive: Booleans, bins: int = BINS
) -> float:
    """How far probabilities lie from the truth, over all (video, label) pairs.

    The pairs are put into `bins` bins of equal width in 0..1 by their probability. The error is the
    mean over pairs of |mean probability - share of true pairs| of the bin that a pair lies in.
    """
    expected, true = _bin_sums(probabilities, positive, bins)
    return float(np.abs(expected.sum(axis=0) - true.sum(axis=0)).sum() / positive.size)


def best_threshold(probabilities: NDArray[Any], positive: Booleans) -> float:
    """The threshold with the highest micro F1: midway between the two probabilities around it.

    Of equals the highest. Raises DataError when there is no positive pair to choose by.
    """
    if not positive.any():
        raise DataError("no video has a label: there is no threshold to choose")
    values = np.asarray(probabilities, dtype=np.float64).ravel()
    order = np.argsort(-values, kind="stable")
    ranked, hits = values[order], np.cumsum(positive.ravel()[order])
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    scores = 2 * hits[ends] / (ends + 1 + hits[-1])
    end = ends[int(np.argmax(scores))]
    below = ranked[end + 1] if end + 1 < len(ranked) else 0.0
    return float((ranked[end] + below) / 2)


def fit_sigmoid(logits: NDArray[Any], positive: Booleans) -> tuple[float, float]:
    """(slope, bias) of p = sigmoid(slope · (logit - bias)) with the highest likelihood.

    One pair for all labels, and the slope is above 0, so that no ranking changes (Platt scaling,
    with Platt's softened targets, which keep the slope finite). Raises DataError without a positive
    pair, or without a negative one.
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    values = np.asarray(logits, dtype=np.float64).ravel()
    true = positive.ravel()
    hits, misses = int(true.sum()), int((~true).sum())
    if not hits or not misses:
        raise DataError("probabilities are fitted to pairs of both kinds, true and not")
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


def evaluate_labels(
    probabilities: NDArray[Any],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    *,
    threshold: float | None = None,
    resamples: int = RANKING_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """All that is measured of several labels a video, in %, with bootstraps over videos.

    `map`, `map_micro`, `f1_macro` and `f1_micro` at 0.5, `precision_at_1` and `_5`,
    `calibration_error`; with a threshold also `f1_macro_chosen` and `f1_micro_chosen`. Averages
    over labels leave out those without a positive video. Raises DataError for what does not fit.
    """
    ranked = evaluate_multi_label(probabilities, labels, classes, resamples=resamples, seed=seed)
    values = check_scores(probabilities).astype(np.float64)
    if values.min() < 0 or values.max() > 1:
        raise DataError(
            "label probabilities outside 0 to 1",
            found=f"{values.min():.3g} to {values.max():.3g}",
        )
    positive = label_matrix(labels, classes)
    statistics = _statistics(values, positive, threshold)
    weights = list(resampled_weights(len(values), resamples, seed, numbers_a_video=BINS))
    metrics = dict(ranked.metrics)
    for name, (measure, parts) in statistics.items():
        value = float(measure(np.ones((len(values), 1)), *parts)[0])
        drawn = np.concatenate([measure(block, *parts) for block in weights])
        drawn = drawn[~np.isnan(drawn)]
        low, high = standard_error_interval(value, drawn) if len(drawn) > 1 else (None, None)
        metrics[name] = Metric(
            value=100 * value,
            low=None if low is None else 100 * low,
            high=None if high is None else 100 * high,
            n=len(values),
        )
    return ranked.model_copy(update={"metrics": metrics})


def _statistics(
    values: Floats, positive: Booleans, threshold: float | None
) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Each metric as a function of the videos' weights (N,R), and what else it takes."""
    found: dict[str, tuple[Any, tuple[Any, ...]]] = {}
    for ending, at in (("", DEFAULT_THRESHOLD), ("_chosen", threshold)):
        if at is not None:
            found[f"f1_macro{ending}"] = (_weighted_macro_f1, (values >= at, positive))
            found[f"f1_micro{ending}"] = (_weighted_micro_f1, (values >= at, positive))
    for k in RANKS:
        found[f"precision_at_{k}"] = (_weighted_mean, (_hits_at(values, positive, k),))
    sums = _bin_sums(values, positive, BINS)
    found["calibration_error"] = (_weighted_calibration, (*sums, positive.shape[1]))
    return found


def _f1(right: NDArray[Any], decided: NDArray[Any], positive: NDArray[Any]) -> Floats:
    return np.divide(
        2.0 * right,
        decided + positive,
        out=np.full(np.shape(right), np.nan),
        where=positive > 0,
    )


def _weighted_macro_f1(weights: NDArray[Any], decided: Booleans, positive: Booleans) -> Floats:
    sums = [weights.T @ part.astype(float) for part in (decided & positive, decided, positive)]
    scores = _f1(*sums)
    known = ~np.isnan(scores)
    total = np.where(known, scores, 0.0).sum(axis=1)
    return np.divide(
        total, known.sum(axis=1), out=np.full(len(total), np.nan), where=known.any(axis=1)
    )


def _weighted_micro_f1(weights: NDArray[Any], decided: Booleans, positive: Booleans) -> Floats:
    right, chosen, true = (
        weights.T @ part.sum(axis=1) for part in (decided & positive, decided, positive)
    )
    return 2.0 * right / np.maximum(chosen + true, 1)


def _weighted_mean(weights: NDArray[Any], values: Floats) -> Floats:
    return weights.T @ values / weights.sum(axis=0)


def _weighted_calibration(
    weights: NDArray[Any], expected: Floats, true: Floats, labels: int
) -> Floats:
    difference = np.abs(weights.T @ expected - weights.T @ true).sum(axis=1)
    return difference / (weights.sum(axis=0) * labels)


def _hits_at(scores: NDArray[Any], positive: Booleans, k: int) -> Floats:
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(positive, best, axis=1).mean(axis=1)


def _bin_sums(probabilities: NDArray[Any], positive: Booleans, bins: int) -> tuple[Floats, Floats]:
    """Per video and bin, the sum of the probabilities and the number of true pairs: (N,bins)."""
    values = np.asarray(probabilities, dtype=np.float64)
    numbers = np.minimum((values * bins).astype(int), bins - 1)

    def sums(parts: Floats) -> Floats:
        inside = [np.where(numbers == number, parts, 0.0).sum(axis=1) for number in range(bins)]
        return np.stack(inside, axis=1)

    return sums(values), sums(positive.astype(float))
