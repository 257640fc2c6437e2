"""Accuracies and average precisions from scores (N,K), each with its 95 % interval.

N videos, K classes. Functions named after a statistic give plain fractions; `evaluate_single_label`
and `evaluate_multi_label` give what a record holds, in %.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.results.average_precision import average_precision
from vclip_cli.results.intervals import (
    resampled_counts,
    resampled_weights,
    standard_error_interval,
    wilson_interval,
)
from vclip_cli.results.measure import ClassMetric, Evaluation, Metric, PerClass
from vclip_cli.results.scores import check_classes, check_scores, class_indices, label_matrix

RESAMPLES = 1000
RANKING_RESAMPLES = 200
"""Fewer for mAP, where each resample ranks every video anew: enough for a standard error."""
MAX_RANKED = 1_000_000_000
"""Above this many (resample, video, class) triples, a minute of work, mAP has no interval."""


def ranks_of_truth(scores: NDArray[Any], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rank (N,) of each video's true class, 0 for the best; equal scores rank in class order.

    scores: (N,K); targets: (N,), indices of classes. Raises DataError for scores that are empty
    or not finite, and targets that do not fit them.
    """
    scores = check_scores(scores)
    targets = np.asarray(targets)
    if targets.shape != scores.shape[:1] or not np.issubdtype(targets.dtype, np.integer):
        raise DataError(
            "the true classes do not fit the scores",
            found=f"{targets.dtype} {targets.shape}",
            expected=f"integers ({len(scores)},)",
        )
    if targets.min() < 0 or targets.max() >= scores.shape[1]:
        raise DataError(
            "a true class is outside the scored classes",
            found=f"{int(targets.min())} to {int(targets.max())}",
            expected=f"0 to {scores.shape[1] - 1}",
        )
    true = np.take_along_axis(scores, targets[:, None], axis=1)
    earlier = np.arange(scores.shape[1]) < targets[:, None]
    return ((scores > true) | ((scores == true) & earlier)).sum(axis=1)


def top_k_accuracy(scores: NDArray[Any], targets: NDArray[np.int64], k: int = 1) -> float:
    """The fraction of videos whose true class is among the k best; all of them where K <= k."""
    return float((ranks_of_truth(scores, targets) < k).mean())


def class_accuracies(
    scores: NDArray[Any], targets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Top-1 accuracy (K,), NaN for a class without videos, and the number of videos (K,)."""
    right, counts = _right_and_counts(ranks_of_truth(scores, targets), targets, scores.shape[1])
    return _divide(right, counts), counts


def mean_class_accuracy(scores: NDArray[Any], targets: NDArray[np.int64]) -> float:
    """The mean of the classes' accuracies; classes without videos are left out."""
    accuracies, _ = class_accuracies(scores, targets)
    return float(np.nanmean(accuracies))


def label_average_precisions(
    scores: NDArray[Any], positive: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Average precision (K,) of each label's ranking of the videos, NaN without a positive one.

    scores, positive: (N,K). Equal to scikit-learn's `average_precision_score` label by label.
    """
    scores = _check_multi_label(scores, positive)
    columns = range(scores.shape[1])
    return np.array([average_precision(scores[:, k], positive[:, k])[0] for k in columns])


def mean_average_precision(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """The mean of the labels' average precisions; labels without a positive video are left out.

    Raises DataError when no label has one.
    """
    precisions = label_average_precisions(scores, positive)
    _require_positives(positive)
    return float(np.nanmean(precisions))


def micro_average_precision(scores: NDArray[Any], positive: NDArray[np.bool_]) -> float:
    """Average precision of all (video, label) pairs in one ranking.

    Raises DataError when there is no positive pair.
    """
    scores = _check_multi_label(scores, positive)
    _require_positives(positive)
    return float(average_precision(scores.ravel(), positive.ravel())[0])


def harmonic_mean(base: float, novel: float) -> float:
    """2ab / (a + b), as base-to-novel tables print it; 0 where both are 0."""
    return 2 * base * novel / (base + novel) if base + novel > 0 else 0.0


def evaluate_single_label(
    scores: NDArray[Any],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    *,
    unread: Sequence[Sequence[str]] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """`top1`, `top5` and `mean_class_accuracy`, with the accuracy of every class, in %.

    labels: the one true class of each video, by name; classes: the names of the K columns; unread:
    the true classes of videos without scores that are to count as wrong, each by itself. With
    fewer than five classes `top5` takes them all. Accuracies have Wilson intervals, the mean over
    classes a bootstrap over videos. Raises DataError for input that does not fit.
    """
    scores = _check_names(scores, labels, classes)
    targets = class_indices(labels, classes)
    ranks = ranks_of_truth(scores, targets)
    if unread:
        targets = np.concatenate([targets, class_indices(unread, classes)])
        ranks = np.concatenate([ranks, np.full(len(unread), np.iinfo(np.int64).max)])
    right, counts = _right_and_counts(ranks, targets, len(classes))
    accuracies = _divide(right, counts)
    metrics = {
        "top1": _proportion(int((ranks < 1).sum()), len(ranks)),
        "top5": _proportion(int((ranks < 5).sum()), len(ranks)),
        "mean_class_accuracy": _measured(
            float(np.nanmean(accuracies)),
            _resample_class_accuracy(right, counts, resamples, seed),
            len(ranks),
        ),
    }
    return _evaluation(metrics, "top1", accuracies, counts, classes)


def evaluate_multi_label(
    scores: NDArray[Any],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    *,
    resamples: int = RANKING_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """`map` (macro) and `map_micro`, with the average precision of every label, in %.

    labels: any number of true labels a video, by name. Intervals are bootstraps over videos,
    left out where they would take minutes (`MAX_RANKED`). Raises DataError for input that does
    not fit, or when no video has a label.
    """
    scores = _check_names(scores, labels, classes)
    positive = label_matrix(labels, classes)
    precisions = label_average_precisions(scores, positive)
    micro = micro_average_precision(scores, positive)
    resampled: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    if resamples * scores.size <= MAX_RANKED:
        resampled = (
            _resample_macro(scores, positive, resamples, seed),
            _resample_micro(scores, positive, resamples, seed),
        )
    metrics = {
        "map": _measured(float(np.nanmean(precisions)), resampled and resampled[0], len(scores)),
        "map_micro": _measured(micro, resampled and resampled[1], len(scores)),
    }
    return _evaluation(metrics, "average_precision", precisions, positive.sum(axis=0), classes)


def _check_names(
    scores: NDArray[Any], labels: Sequence[Sequence[str]], classes: Sequence[str]
) -> NDArray[Any]:
    scores = check_scores(scores)
    check_classes(classes)
    if scores.shape != (len(labels), len(classes)):
        raise DataError(
            "scores of the wrong shape",
            found=str(scores.shape),
            expected=f"({len(labels)} videos, {len(classes)} classes)",
        )
    return scores


def _check_multi_label(scores: NDArray[Any], positive: NDArray[np.bool_]) -> NDArray[Any]:
    scores = check_scores(scores)
    if positive.shape != scores.shape or positive.dtype != np.bool_:
        raise DataError(
            "the labels do not fit the scores",
            found=f"{positive.dtype} {positive.shape}",
            expected=f"booleans {scores.shape}",
        )
    return scores


def _require_positives(positive: NDArray[np.bool_]) -> None:
    if not positive.any():
        raise DataError("no scored video has a label: there is no precision to average")


def _divide(numbers: NDArray[Any], by: NDArray[Any]) -> NDArray[np.float64]:
    return np.divide(numbers, by, out=np.full(by.shape, np.nan), where=by > 0)


def _right_and_counts(
    ranks: NDArray[np.int64], targets: NDArray[np.int64], classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Videos (K,) of each class whose truth ranks first, and all of them."""
    right = targets[ranks == 0]
    return np.bincount(right, minlength=classes), np.bincount(targets, minlength=classes)


def _resample_class_accuracy(
    right: NDArray[np.int64], counts: NDArray[np.int64], resamples: int, seed: int
) -> NDArray[np.float64]:
    drawn = resampled_counts(np.stack([right, counts - right]).ravel(), resamples, seed)
    drawn_right, drawn_wrong = drawn[:, : len(counts)], drawn[:, len(counts) :]
    return np.nanmean(_divide(drawn_right, drawn_right + drawn_wrong), axis=1)


def _resample_macro(
    scores: NDArray[Any], positive: NDArray[np.bool_], resamples: int, seed: int
) -> NDArray[np.float64]:
    present = np.flatnonzero(positive.any(axis=0))
    means = []
    for weights in resampled_weights(len(scores), resamples, seed):
        drawn = [average_precision(scores[:, k], positive[:, k], weights) for k in present]
        means.append(_mean_of_known(np.stack(drawn, axis=1)))
    return np.concatenate(means)


def _resample_micro(
    scores: NDArray[Any], positive: NDArray[np.bool_], resamples: int, seed: int
) -> NDArray[np.float64]:
    classes = scores.shape[1]
    blocks = resampled_weights(len(scores), resamples, seed, numbers_a_video=classes)
    values = [
        average_precision(scores.ravel(), positive.ravel(), np.repeat(weights, classes, axis=0))
        for weights in blocks
    ]
    return np.concatenate(values)


def _mean_of_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    return _divide(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))


def _proportion(successes: int, trials: int) -> Metric:
    low, high = wilson_interval(successes, trials)
    return Metric(value=100 * successes / trials, low=100 * low, high=100 * high, n=trials)


def _measured(value: float, resampled: NDArray[np.float64] | None, n: int) -> Metric:
    # a resample of few videos may hold no positive one
    known = np.empty(0) if resampled is None else resampled[~np.isnan(resampled)]
    if len(known) < 2:
        return Metric(value=100 * value, n=n)
    low, high = standard_error_interval(value, known)
    return Metric(value=100 * value, low=100 * low, high=100 * high, n=n)


def _evaluation(
    metrics: dict[str, Metric],
    per_class_metric: str,
    values: NDArray[np.float64],
    counts: NDArray[np.int64],
    classes: Sequence[str],
) -> Evaluation:
    per_class = [
        ClassMetric(name=name, value=100 * float(value) if count else None, n=int(count))
        for name, value, count in zip(classes, values, counts, strict=True)
    ]
    return Evaluation(
        metrics=metrics,
        per_class=PerClass(metric=per_class_metric, values=per_class),
        without_positives=[entry.name for entry in per_class if entry.n == 0],
    )
