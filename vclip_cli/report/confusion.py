"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np

from vclip_cli.report.clip_scores import ClipScores


def confusions(clips: ClipScores, classes: int) -> list[tuple[int, int, int]]:
    """(true class, best class, clips) of every pair that occurs, in order; single labels only."""
    truth = np.array([labels[0] for labels in clips.truth], dtype=np.int64)
    pairs, counts = np.unique(truth * classes + clips.best[:, 0], return_counts=True)
    return [
        (int(pair) // classes, int(pair) % classes, int(count))
        for pair, count in zip(pairs, counts, strict=True)
    ]
