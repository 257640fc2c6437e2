"""Ranked labels for single videos, outside any dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore
from vclip_cli.engine.encoding.encoder import Encoder, PerLabel
from vclip_cli.engine.encoding.passes import encoded_batches
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, VideoSet
from vclip_cli.engine.runs.parts import Division


@dataclass(frozen=True)
class RankedLabels:
    """The best labels of one video with their probabilities, or why there are none."""

    video: str
    labels: list[tuple[str, float]]
    error: VclipError | None = None


@dataclass(frozen=True, eq=False)
class Candidates:
    """The labels to rank.

    text: their embeddings from `Encoder.encode_text`; per_label: independent probabilities per
    label, None for the softmax over the labels; top: labels per video.
    """

    names: Sequence[str]
    text: Any
    per_label: PerLabel | None
    top: int

    def rank(
        self, video: str, encoder: Encoder, encoded: Any, views: int, *, pooled: bool = False
    ) -> RankedLabels:
        """The best labels of one video, best first; see `Encoder.score`."""
        [scores] = encoder.score(encoded, self.text, views, self.per_label, pooled=pooled)
        order = np.argsort(-scores, kind="stable")[: self.top].tolist()
        return RankedLabels(video, [(self.names[place], float(scores[place])) for place in order])


def predict_videos(
    encoder: Encoder,
    videos: Sequence[Path],
    reading: VideoReading,
    candidates: Candidates,
    store: EmbeddingStore | None = None,
    *,
    progress: Progress = no_progress,
) -> list[RankedLabels]:
    """Rank the labels for each video; a video that cannot be read carries its error instead.

    store: holds embeddings of files seen before.
    """
    files = [path.parent.resolve() / path.name for path in videos]
    listed = [ListedVideo(str(p), file.as_posix()) for p, file in zip(videos, files, strict=True)]
    single = VideoSet(Path(), listed, reading)
    stored = store.open(single) if store is not None else None
    results = []
    with progress("predicting", len(videos)) as advance:
        batches = encoded_batches(encoder, single, Division(len(videos), 1), stored=stored)
        for name, batch in zip(map(str, videos), batches, strict=True):
            for error in batch.errors.values():
                error.where = name
                results.append(RankedLabels(name, [], error))
            if (encoded := batch.encoded) is not None:
                ranked = candidates.rank(name, encoder, encoded, reading.views, pooled=batch.pooled)
                results.append(ranked)
            advance(1)
    return results
