"""What a metric is: a name, a title, a unit, a direction, a function and its 95 % interval.

One metric is one file of `results/metrics/`, or of `metrics/` in a folder of `VCLIP_PATH`; the file
name is the metric's name. Shapes: N videos, K classes, R weightings of the videos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from vclip_cli.common.errors import DataError
from vclip_cli.results.intervals import (
    resampled_weights,
    standard_error_interval,
    wilson_interval,
)
from vclip_cli.results.scores import average_precision, check_scores, divide, label_matrix

Kind = Literal["single-label", "multi-label"]
Weighted = Callable[[NDArray[Any]], NDArray[np.float64]]
"""From weights (N,R), how often each video counts, to R values; NaN where there is no value."""


class Closed(BaseModel):
    """The base of all parts of a record: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class MetricValue(Closed):
    """A value with its 95 % interval.

    low, high: null where no interval was computed. n: the number of videos behind the value.
    unit: `%` for everything in 0..100.
    """

    value: float
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=1)
    unit: str = "%"

    @model_validator(mode="after")
    def _lies_in_its_interval(self) -> MetricValue:
        low = self.value if self.low is None else self.low
        high = self.value if self.high is None else self.high
        if not low - 1e-9 <= self.value <= high + 1e-9:
            raise ValueError(f"{self.value} is outside its interval {low} to {high}")
        return self


@dataclass(frozen=True, eq=False)
class ScoredVideos:
    """A test set as a metric sees it.

    scores: (N,K) floats. positive: (N,K), which labels each video has. threshold: chosen on the
    validation part; labels at or above it are predicted; None without one. unread: the last
    `unread` videos have no scores, their rows are zeros, and they count as wrong.
    """

    scores: NDArray[Any]
    positive: NDArray[np.bool_]
    threshold: float | None = None
    unread: int = 0

    def __post_init__(self) -> None:
        """Let no metric change what the next one sees."""
        for name in ("scores", "positive"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.scores)

    @cached_property
    def targets(self) -> NDArray[np.int64]:
        """The true class (N,) of each video; for one label per video."""
        return self.positive.argmax(axis=1)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """The rank (N,) of each video's true class, for one label per video; 0 for the best.

        Equal scores rank in class order. A video without scores has the rank K.
        """
        classes, targets = self.scores.shape[1], self.targets[:, None]
        true = np.take_along_axis(self.scores, targets, axis=1)
        earlier = np.arange(classes) < targets
        ranks = ((self.scores > true) | ((self.scores == true) & earlier)).sum(axis=1)
        ranks[len(ranks) - self.unread :] = classes
        ranks.flags.writeable = False
        return ranks

    @cached_property
    def class_accuracies(self) -> NDArray[np.float64]:
        """The top-1 accuracy (K,) of each class; NaN without a video."""
        right = self.positive & (self.ranks == 0)[:, None]
        shares = divide(right.sum(axis=0), self.positive.sum(axis=0))
        shares.flags.writeable = False
        return shares

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """The scores as float64. Raises DataError where they are outside 0 to 1."""
        values = self.scores.astype(np.float64)
        if values.min() < 0 or values.max() > 1:
            raise DataError(
                "label probabilities outside 0 to 1",
                found=f"{values.min():.3g} to {values.max():.3g}",
            )
        return values

    @cached_property
    def precisions(self) -> NDArray[np.float64]:
        """The average precision (K,) of each label; NaN without a positive video.

        Raises DataError where no video has a label.
        """
        if not self.positive.any():
            raise DataError("no scored video has a label, so there is no precision to average")
        pairs = zip(self.scores.T, self.positive.T, strict=True)
        return np.array([average_precision(*pair)[0] for pair in pairs])

    def repeated(self, times: NDArray[np.integer]) -> ScoredVideos:
        """Each video as often as `times` (N,) says."""
        rows = np.repeat(np.arange(len(self)), times)
        unread = int(times[len(self) - self.unread :].sum())
        return replace(self, scores=self.scores[rows], positive=self.positive[rows], unread=unread)


def scored_videos(
    scores: NDArray[Any],
    labels: Sequence[Sequence[str]],
    classes: Sequence[str],
    kind: Kind,
    *,
    threshold: float | None = None,
    unread: Sequence[Sequence[str]] = (),
) -> ScoredVideos:
    """Join scores (N,K) with the true labels by name.

    classes: the names of the K columns. unread: the labels of videos without scores. Raises
    DataError where scores, labels and classes do not fit together.
    """
    scores = check_scores(scores)
    if scores.shape != (len(labels), len(classes)):
        raise DataError(
            "scores of the wrong shape",
            found=str(scores.shape),
            expected=f"({len(labels)} videos, {len(classes)} classes)",
        )
    positive = label_matrix([*labels, *unread], classes, single=kind == "single-label")
    if unread:
        scores = np.concatenate([scores, np.zeros((len(unread), len(classes)), scores.dtype)])
    return ScoredVideos(scores, positive, threshold, len(unread))


class Metric:
    """The base of all metrics: a subclass states the names below and defines a function.

    name: as in protocols and records. title: as tables print it. kinds: the kinds of protocol that
    it is for. unit: for `%` the functions give shares in 0..1, which are reported times 100; for
    any other unit they give the number itself. direction: whether a higher or a lower value is
    better. digits: decimals that tables print. resamples: the number of bootstrap draws. extends:
    the metric that this one accompanies once a threshold is chosen; this name starts with that
    name. The function is `value`, or `weighted`, which is faster: define one.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]
    unit: ClassVar[str] = "%"
    direction: ClassVar[Literal["higher", "lower"]] = "higher"
    digits: ClassVar[int] = 1
    resamples: ClassVar[int] = 200
    extends: ClassVar[str | None] = None

    @classmethod
    def problem(cls) -> str | None:
        """What is wrong with the declaration."""
        kinds = getattr(cls, "kinds", ())
        if not isinstance(getattr(cls, "title", None), str):
            return "states no title"
        if not kinds or not set(kinds) <= set(get_args(Kind)):
            return f"states kinds other than {' and '.join(get_args(Kind))}: {kinds!r}"
        if cls.direction not in ("higher", "lower"):
            return f"states a direction other than higher or lower: {cls.direction!r}"
        if not isinstance(cls.digits, int) or not 0 <= cls.digits <= 9:
            return f"states digits other than a whole number from 0 to 9: {cls.digits!r}"
        if not isinstance(cls.unit, str):
            return f"states a unit that is no text: {cls.unit!r}"
        if cls.value is Metric.value and cls.weighted is Metric.weighted:
            return "defines neither `value` nor `weighted`"
        return None

    @property
    def scale(self) -> int:
        """What the functions' numbers are multiplied by when they are reported."""
        return 100 if self.unit == "%" else 1

    def value(self, scored: ScoredVideos) -> float:
        """The metric of a test set."""
        return float(self.weighted(scored)(np.ones((len(scored), 1)))[0])

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The metric as a function of how often each video counts."""
        return lambda weights: np.array(
            [self.value(scored.repeated(times)) for times in weights.T.astype(np.int64)]
        )

    def numbers_per_video(self, scored: ScoredVideos) -> int:
        """How many numbers `weighted` holds for each weight: bounds the memory of the bootstrap."""
        return 1

    def resampled(self, scored: ScoredVideos) -> NDArray[np.float64] | None:
        """The metric (R,) of bootstrap draws of the videos; None where it takes too long."""
        function, numbers = self.weighted(scored), self.numbers_per_video(scored)
        blocks = resampled_weights(len(scored), self.resamples, numbers)
        return np.concatenate([function(block) for block in blocks])

    def measured(self, scored: ScoredVideos) -> MetricValue:
        """The value and its 95 % interval, in the unit; the interval from a bootstrap over videos.

        There is no interval where fewer than two draws have a value.
        """
        value, scale = self.value(scored), self.scale
        if self.unit == "%" and not 0 <= value <= 1:
            raise ValueError(f"a metric in % gives a share in 0..1, but this one gives {value}")
        result = MetricValue(value=scale * value, n=len(scored), unit=self.unit)
        drawn = self.resampled(scored)
        known = np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
        if len(known) < 2:
            return result
        limits = (0.0, 1.0) if self.unit == "%" else (-math.inf, math.inf)
        low, high = standard_error_interval(value, known, limits)
        return result.model_copy(update={"low": scale * low, "high": scale * high})


class ShareMetric(Metric):
    """A share of videos that are right; its interval is Wilson's.

    mcnemar: whether two methods are compared by McNemar's exact test, else by the bootstrap.
    """

    kinds = ("single-label",)
    resamples = 1000
    mcnemar: ClassVar[bool] = False

    def right(self, scored: ScoredVideos) -> NDArray[np.bool_]:
        """Whether each video (N,) is right."""
        raise NotImplementedError

    def weighted(self, scored: ScoredVideos) -> Weighted:
        """The share of right videos."""
        right = self.right(scored)
        return lambda weights: right @ weights / weights.sum(axis=0)

    def measured(self, scored: ScoredVideos) -> MetricValue:
        """The share and Wilson's interval, in %, without resampling."""
        right, n = int(self.right(scored).sum()), len(scored)
        low, high = wilson_interval(right, n)
        return MetricValue(value=100 * right / n, low=100 * low, high=100 * high, n=n)
