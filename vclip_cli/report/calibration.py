"""Whether a model is right as often as it says: bins of confidence, and their expected error.

Guo et al., ICML 2017: confidence is the probability of the best class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Clips whose confidence lies in (low, high]; confidence, accuracy: means, None if empty."""

    low: float
    high: float
    clips: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """error: the expected calibration error, in 0..1, over the bins weighted by their clips."""

    bins: tuple[Bin, ...]
    error: float
    confidence: float
    accuracy: float


def calibration(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS
) -> Calibration:
    """Bins of equal width over the probability (N,) of the best class; at least one clip."""
    values = confidence.astype(np.float64)
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)
    made = []
    error = 0.0
    for number in range(bins):
        inside = place == number
        count = int(inside.sum())
        low, high = float(edges[number]), float(edges[number + 1])
        if not count:
            made.append(Bin(low, high, 0, None, None))
            continue
        mean, accuracy = float(values[inside].mean()), float(right[inside].mean())
        error += count / len(values) * abs(accuracy - mean)
        made.append(Bin(low, high, count, mean, accuracy))
    return Calibration(tuple(made), error, float(values.mean()), float(right.mean()))
