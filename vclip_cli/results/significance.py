"""Whether two methods differ on the same videos: an exact test, and a bootstrap over videos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.results.intervals import CONFIDENCE, resampled_weights


def mcnemar_exact(only_one: int, only_other: int) -> float:
    """The two-sided p of McNemar's exact test.

    only_one, only_other: the videos that only one of the methods has right; those that both have
    right or wrong say nothing. 1 where there is none of either.
    """
    from scipy.stats import binomtest

    discordant = only_one + only_other
    return float(binomtest(only_one, discordant).pvalue) if discordant else 1.0


def difference_interval(
    difference: float, resampled: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """(low, high, p) of a difference from its bootstrap replicates (R,).

    The interval is the difference plus and minus z standard deviations of the replicates, and p the
    two-sided probability of a difference as large under a normal law of that deviation; 1 where
    nothing varies and nothing differs.
    """
    from scipy.stats import norm

    error = float(np.std(resampled, ddof=1))
    spread = float(norm.ppf((1 + confidence) / 2)) * error
    if error == 0:
        return difference, difference, 1.0 if difference == 0 else 0.0
    p = float(2 * norm.sf(abs(difference) / error))
    return difference - spread, difference + spread, p


def bootstrap_differences(
    one: Callable[[NDArray[Any]], NDArray[np.float64]],
    other: Callable[[NDArray[Any]], NDArray[np.float64]],
    videos: int,
    resamples: int,
    seed: int = 0,
    numbers_a_video: int = 1,
) -> NDArray[np.float64]:
    """`other` minus `one` on the same resamples of the videos, without those that cannot be scored.

    one, other: give a metric (R,) for weights (N,R), how often each video is drawn; NaN where a
    resample has no such value.
    """
    blocks = resampled_weights(videos, resamples, seed, numbers_a_video)
    found = np.concatenate([other(weights) - one(weights) for weights in blocks])
    return found[~np.isnan(found)]
