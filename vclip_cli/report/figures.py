"""The numbers behind a page's plots: calibration by bins of confidence, and a map of embeddings.

Shapes: N videos. Calibration: Guo et al., ICML 2017, section 2; confidence is the probability of
the best class. The map is t-SNE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vclip_cli.report.material import Embeddings, Missing

BINS = 15
FEWEST = 5
PERPLEXITY = 30
SEED = 0


@dataclass(frozen=True)
class Bin:
    """The videos of confidence in (low, high]; confidence, accuracy: means, None if empty."""

    low: float
    high: float
    videos: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """error: the expected calibration error, in 0..1: a mean over bins, weighted by videos."""

    bins: tuple[Bin, ...]
    error: float
    confidence: float
    accuracy: float


def calibration(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], bins: int = BINS
) -> Calibration:
    """Bins of equal width over the probability (N,) of the best class; N is at least 1."""
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


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """points: (N,2) in -1..1. neighbours: the share of videos whose nearest other video, by the
    cosine of the whole vectors, shares a label."""

    videos: tuple[str, ...]
    points: NDArray[np.float64]
    perplexity: float
    neighbours: float


def embedding_map(
    embeddings: Embeddings, labels: Sequence[tuple[str, ...]]
) -> EmbeddingMap | Missing:
    """The map of the vectors; equal vectors give equal points.

    labels: of the embedded videos, in their order.
    """
    count = len(embeddings.videos)
    if count < FEWEST:
        return Missing(f"A map needs at least {FEWEST} videos; {count} were embedded.")
    from sklearn.manifold import TSNE

    norms = np.linalg.norm(embeddings.vectors, axis=1, keepdims=True)
    vectors = embeddings.vectors / np.maximum(norms, 1e-12)
    perplexity = min(PERPLEXITY, (count - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=SEED, n_jobs=1).fit_transform(
        vectors
    )
    points = points - (points.max(axis=0) + points.min(axis=0)) / 2
    scaled = points.astype(np.float64) / max(float(np.abs(points).max()), 1e-12)
    return EmbeddingMap(
        embeddings.videos, scaled, float(perplexity), _same_label_neighbours(vectors, labels)
    )


def _same_label_neighbours(
    vectors: NDArray[np.float32], labels: Sequence[tuple[str, ...]]
) -> float:
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(vectors)
    nearest = search.kneighbors(return_distance=False)[
        :, 0
    ]  # without arguments a video is not its own neighbour
    shared = [bool(set(labels[i]) & set(labels[j])) for i, j in enumerate(nearest.tolist())]
    return float(np.mean(shared))
