"""Ranked labels for single videos, outside any dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.label_set import NATURAL, LabelSet
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore
from vclip_cli.engine.encoding.encoder import Encoder, PerLabel
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import LoadedMethod, candidate_classes
from vclip_cli.engine.encoding.passes import encoded_batches
from vclip_cli.engine.encoding.settings import class_prompts
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, VideoSet
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.specs import UNPROTECTED, ComputeSpec, WorkerSpec


@dataclass(frozen=True)
class RankedLabels:
    """The best labels of one video with their probabilities, or why there are none."""

    video: str
    labels: list[tuple[str, float]]
    error: VclipError | None = None


def predict_videos(
    method: LoadedMethod,
    videos: Sequence[Path],
    label_set: LabelSet,
    reading: VideoReading,
    compute: ComputeSpec,
    workers: WorkerSpec = UNPROTECTED,
    *,
    variant: str,
    templates: Sequence[str],
    top: int,
    per_label: PerLabel | None = None,
    label_embeddings: Path | None = None,
    store: EmbeddingStore | None = None,
    progress: Progress = no_progress,
) -> list[RankedLabels]:
    """Score each video over all labels; a video that cannot be read carries its error instead.

    compute: with the device resolved; per_label: a probability for each label by itself, None for
    the softmax over the labels; label_embeddings: a file to take the labels' embeddings from;
    store: of the embeddings of files that were seen before.
    """
    encoder = Encoder(method.adapter, replace(compute, batch_size=1), workers)
    method.adapter.to(encoder.device)
    names = candidate_classes(method, label_set.names, "the labels")
    if variant not in label_set.variants:  # a paper's variant, for labels given by hand
        variant = NATURAL
    prompts = class_prompts(label_set, names, variant, templates)
    if label_embeddings is not None:
        text = stored_text(label_embeddings, method, prompts, compute)
    else:
        text = encoder.encode_text(prompts)
    files = [path.parent.resolve() / path.name for path in videos]
    listed = [ListedVideo(str(p), file.as_posix()) for p, file in zip(videos, files, strict=True)]
    single = VideoSet(Path(), listed, reading)
    stored = store.open(single) if store is not None else None
    results = []
    with progress("predicting", len(videos)) as advance:
        division = Division(len(videos), encoder.compute.batch_size)
        batches = encoded_batches(encoder, single, division, stored=stored)
        for path, batch in zip(videos, batches, strict=True):
            for error in batch.errors.values():
                error.where = str(path)
                results.append(RankedLabels(str(path), [], error))
            if batch.encoded is not None:
                views = reading.views
                scores = encoder.score(batch.encoded, text, views, per_label, pooled=batch.pooled)
                results.append(RankedLabels(str(path), best_labels(names, scores[0], top)))
            advance(1)
    return results


def best_labels(names: Sequence[str], scores: np.ndarray, top: int) -> list[tuple[str, float]]:
    """The `top` labels with the highest of the scores (K,), best first."""
    order = np.argsort(-scores, kind="stable")[:top].tolist()
    return [(names[index], float(scores[index])) for index in order]
