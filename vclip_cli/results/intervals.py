"""95 % intervals: Wilson's for proportions, the bootstrap over videos for everything else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
BLOCK = 4_000_000
"""Numbers held at once while resampling: a few arrays of 16 or 32 MB."""


def wilson_interval(
    successes: int, trials: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson's score interval of a proportion, as fractions in 0..1.

    Raises ValueError when there is no trial, or more successes than trials.
    """
    from scipy.special import ndtri  # norm.ppf of scipy.stats, which takes seconds to import

    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials")
    z = float(ndtri((1 + confidence) / 2))
    share = successes / trials
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    middle = share + z * z / (2 * trials)
    low = 0.0 if successes == 0 else (middle - spread) / scale
    high = 1.0 if successes == trials else (middle + spread) / scale
    return low, high


def standard_error_interval(
    value: float, resampled: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """`value` plus and minus z standard deviations of the resampled statistics (R,), in 0..1.

    Percentiles would mislead for average precision: a resample holds some videos twice, at equal
    scores, which lifts every precision, until the interval leaves out the value itself.
    """
    from scipy.special import ndtri

    spread = float(ndtri((1 + confidence) / 2)) * float(np.std(resampled, ddof=1))
    return max(0.0, value - spread), min(1.0, value + spread)


def mean_interval(
    values: Sequence[float], floor: float, ceiling: float | None, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Student's t interval of the mean of n > 1 values, cut to what the values can be."""
    from scipy.special import stdtrit

    middle = float(np.mean(values))
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    spread = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * error
    high = middle + spread if ceiling is None else min(ceiling, middle + spread)
    return max(floor, middle - spread), high


def resampled_counts(counts: NDArray[np.int64], resamples: int, seed: int = 0) -> NDArray[np.int64]:
    """How many videos of each kind (R,kinds) are drawn when N of N are drawn with replacement.

    counts: the number of videos of each kind. Counting the kinds of N separate draws is one
    multinomial draw, so that its cost does not depend on N.
    """
    total = int(counts.sum())
    return np.random.default_rng(seed).multinomial(total, counts / total, size=resamples)


def resampled_weights(
    videos: int, resamples: int, seed: int = 0, numbers_a_video: int = 1
) -> Iterator[NDArray[np.int32]]:
    """How often each video is drawn, as blocks (N,R) that are `resamples` columns together.

    numbers_a_video: how many numbers the caller makes of each weight, to bound the block's size.
    """
    generator = np.random.default_rng(seed)
    width = max(1, BLOCK // (videos * numbers_a_video))
    for start in range(0, resamples, width):
        columns = range(min(width, resamples - start))
        draws = (generator.integers(0, videos, size=videos) for _ in columns)
        counts = [np.bincount(drawn, minlength=videos) for drawn in draws]
        yield np.stack(counts, axis=1).astype(np.int32)
