"""The learning rate over the steps: linear warm-up, then a half cosine."""

from __future__ import annotations

import math


def rate_factor(step: int, steps: int, warmup: int, floor: float) -> float:
    """The factor on the base rate at `step` (from 0) of `steps`.

    Rises linearly from 0 over `warmup` steps, then falls as a half cosine to `floor`.
    """
    if step < warmup:
        return step / warmup
    remaining = max(steps - warmup, 1)
    progress = min((step - warmup) / remaining, 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
