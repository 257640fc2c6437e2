"""Which clips a page shows one by one, when it cannot hold them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vclip_cli.report.clip_scores import (
    clip_scores,
    easiest,
    hardest,
    most_confident_mistakes,
)
from vclip_cli.report.material import Missing
from vclip_cli.results.predictions import Predictions

HARDEST = 12
EASIEST = 6


@dataclass(frozen=True)
class Shown:
    """videos: shown one by one, in the order of the predictions; focus: those shown large."""

    videos: tuple[str, ...]
    focus: tuple[str, ...]


def select_clips(
    results: Sequence[Predictions | Missing], multi_label: Sequence[bool], limit: int
) -> list[Shown]:
    """For each result the clips to show: its hardest, most confident wrong and easiest ones, and
    others evenly over its classes until the results together have `limit` of them."""
    counted = [entry for entry in results if isinstance(entry, Predictions)]
    quota = max(1, limit // max(1, len({entry.videos for entry in counted})))
    chosen: list[Shown] = []
    for entry, multi in zip(results, multi_label, strict=True):
        if isinstance(entry, Missing):
            chosen.append(Shown((), ()))
            continue
        focus = focus_positions(entry, multi)
        wanted = set(focus) | set(_even(entry, quota))
        chosen.append(
            Shown(
                tuple(entry.videos[position] for position in sorted(wanted)),
                tuple(entry.videos[position] for position in focus),
            )
        )
    return chosen


def focus_positions(predictions: Predictions, multi_label: bool) -> list[int]:
    """The clips that are shown large, and whose attention is computed; each once."""
    clips = clip_scores(predictions, multi_label)
    parts = (
        hardest(clips, HARDEST),
        most_confident_mistakes(clips, HARDEST),
        easiest(clips, EASIEST),
    )
    return list(dict.fromkeys(np.concatenate(parts).tolist()))


def _even(predictions: Predictions, count: int) -> list[int]:
    """Positions evenly spread over the clips sorted by class, so that all classes are seen."""
    total = len(predictions.videos)
    order = sorted(range(total), key=lambda row: (predictions.labels[row], predictions.videos[row]))
    if count >= total:
        return order
    return [order[index * total // count] for index in range(count)]
