"""95 % intervals and tests: Wilson, Student, the bootstrap over videos, McNemar."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
SEED = 0
"""Of every bootstrap: equal predictions have equal intervals."""
Z = 1.959963984540054
"""The normal distribution's quantile at 97.5 %."""
BLOCK = 4_000_000
"""Most numbers in memory at once while resampling: a few arrays of 16 or 32 MB."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion, as fractions in 0..1.

    Raises ValueError when there is no trial, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials")
    share = successes / trials
    spread = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    middle = share + Z * Z / (2 * trials)
    low = 0.0 if successes == 0 else (middle - spread) / scale
    high = 1.0 if successes == trials else (middle + spread) / scale
    return low, high


def standard_error_interval(
    value: float,
    resampled: NDArray[np.float64],
    limits: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """`value` plus and minus z standard deviations of the resampled values (R,), within `limits`.

    Percentiles would mislead for average precision: a resample holds some videos twice, at equal
    scores, which raises every precision, so that the interval can miss the value itself.
    """
    spread = Z * float(np.std(resampled, ddof=1))
    return max(limits[0], value - spread), min(limits[1], value + spread)


def mean_interval(values: Sequence[float], floor: float, ceiling: float) -> tuple[float, float]:
    """Student's t interval of the mean of n > 1 values, cut to the values' own range."""
    from scipy.special import stdtrit

    middle = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    spread = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * error
    return max(floor, middle - spread), min(ceiling, middle + spread)


def resampled_weights(
    videos: int, resamples: int, numbers_per_video: int = 1
) -> Iterator[NDArray[np.int32]]:
    """How often each video is drawn, as blocks (N,R) that together have `resamples` columns.

    numbers_per_video: how many numbers the caller holds for each weight; bounds the block's size.
    """
    generator = np.random.default_rng(SEED)
    width = max(1, BLOCK // (videos * numbers_per_video))
    for start in range(0, resamples, width):
        columns = range(min(width, resamples - start))
        draws = (generator.integers(0, videos, size=videos) for _ in columns)
        counts = [np.bincount(drawn, minlength=videos) for drawn in draws]
        yield np.stack(counts, axis=1).astype(np.int32)


def mcnemar_exact(only_one: int, only_other: int) -> float:
    """The two-sided p of McNemar's exact test.

    only_one, only_other: the videos that only one of the two methods has right. 1 where there is
    no such video.
    """
    from scipy.stats import binomtest

    discordant = only_one + only_other
    return float(binomtest(only_one, discordant).pvalue) if discordant else 1.0


def difference_interval(
    difference: float, resampled: NDArray[np.float64]
) -> tuple[float, float, float]:
    """(low, high, p) of a difference from its bootstrap replicates (R,).

    The interval is the difference plus and minus z standard deviations of the replicates. p is the
    two-sided probability of a difference as large under a normal distribution of that deviation; 1
    where the difference and the deviation are 0.
    """
    from scipy.stats import norm

    error = float(np.std(resampled, ddof=1))
    spread = Z * error
    if error == 0:
        return difference, difference, 1.0 if difference == 0 else 0.0
    p = float(2 * norm.sf(abs(difference) / error))
    return difference - spread, difference + spread, p


def bootstrap_differences(
    one: Callable[[NDArray[Any]], NDArray[np.float64]],
    other: Callable[[NDArray[Any]], NDArray[np.float64]],
    videos: int,
    resamples: int,
    numbers_per_video: int = 1,
) -> NDArray[np.float64]:
    """`other` minus `one` on the same resamples of the videos.

    one, other: give a metric (R,) for weights (N,R), how often each video is drawn. Resamples for
    which one of them gives NaN are left out.
    """
    blocks = resampled_weights(videos, resamples, numbers_per_video)
    found = np.concatenate([other(weights) - one(weights) for weights in blocks])
    return found[~np.isnan(found)]
