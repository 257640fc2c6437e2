"""The learning rate over the steps: linear warm-up, then a half cosine."""

from __future__ import annotations

import math


def rate_factor(step: int, steps: int, warmup: int, floor: float) -> float:
    """The factor on the base rate at `step` (from 0) of `steps`.

    Rises linearly over `warmup` steps, of which the last has the full rate, then falls as a half
    cosine to `floor`. The first step is not wasted on a rate of 0.
    """
    if step < warmup:
        return (step + 1) / warmup
    remaining = max(steps - warmup, 1)
    progress = min((step - warmup) / remaining, 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
