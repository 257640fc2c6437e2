"""Video embeddings on a plane: t-SNE, and how many nearest neighbours share a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vclip_cli.report.material import Embeddings, Missing

FEWEST = 5
PERPLEXITY = 30
SEED = 0


@dataclass(frozen=True, eq=False)
class EmbeddingMap:
    """points: (N,2) in -1..1. neighbours: the share of clips whose nearest other clip, by the
    cosine of the whole vectors, has the same label."""

    videos: tuple[str, ...]
    points: NDArray[np.float64]
    perplexity: float
    neighbours: float


def embedding_map(
    embeddings: Embeddings, labels: Sequence[tuple[str, ...]]
) -> EmbeddingMap | Missing:
    """The map of the vectors, seeded: equal vectors give equal points.

    labels: of the embedded videos, in their order.
    """
    count = len(embeddings.videos)
    if count < FEWEST:
        return Missing(f"A map needs at least {FEWEST} clips; {count} were embedded.")
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
    nearest = search.kneighbors(return_distance=False)[:, 0]  # without arguments: never itself
    shared = [bool(set(labels[i]) & set(labels[j])) for i, j in enumerate(nearest.tolist())]
    return float(np.mean(shared))
