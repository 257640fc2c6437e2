"""Base-to-novel: the published halves of the classes, and the published draw of training videos."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from vclip_cli.common.errors import DataError
from vclip_cli.data.few_shot import require_enough


def halves_by_counts(
    counts: Mapping[str, int], order: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Base and novel classes by ViFi-CLIP's rule (docs/methods.md#base-to-novel-lists).

    Sort ascending by (training videos, index in `order`); novel is the first floor(n/2), base the
    rest. Both stay in that order. Raises DataError for fewer than two classes.
    """
    if len(order) < 2:
        raise DataError("two halves need at least two classes", found=f"{len(order)}")
    ranked = sorted(order, key=lambda name: counts.get(name, 0))
    novel = len(ranked) // 2
    return ranked[novel:], ranked[:novel]


def draw_base(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int
) -> dict[str, list[str]]:
    """K training videos of every base class, as published (docs/methods.md#base-to-novel-lists).

    `random.Random(seed).sample(videos, K)`, with the generator seeded anew for every class, over
    the videos in the order of the official list. Raises DataError that names classes too small.
    """
    require_enough(videos_of, shots)
    return {
        name: random.Random(seed).sample(list(dict.fromkeys(videos)), shots)
        for name, videos in videos_of.items()
    }
