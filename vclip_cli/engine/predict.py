"""Ranked labels for single videos, outside any dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vclip_cli.common.errors import VclipError, VideoError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.label_set import NATURAL, LabelSet
from vclip_cli.engine.encoding.embedding_pass import encode_batch, score_embeddings
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore, StoredEmbeddings
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import LoadedMethod, candidate_classes
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.encoding.scoring import Computing, PerLabel, encode_text, score_batch
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, read_views_and_damage
from vclip_cli.engine.loading.workers import Lost, guarded_calls
from vclip_cli.models.contract import Adapter
from vclip_cli.video.decoded import Damage

SINGLE_VIDEOS = ""
"""The dataset of videos that belong to none."""
FLUSH_EVERY = 64


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
    computing: Computing,
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

    per_label: a probability for each label by itself; None for the softmax over the labels.
    label_embeddings: a file to take the labels' embeddings from. store: where the embeddings of
    files that were seen before come from, and those of others go to.
    """
    adapter = method.adapter.to(computing.device)
    names = candidate_classes(method, label_set.names, "the labels")
    if variant not in label_set.variants:  # a paper's variant, for labels given by hand
        variant = NATURAL
    prompts = class_prompts(label_set, names, variant, templates)
    if label_embeddings is not None:
        text = stored_text(label_embeddings, method, prompts, computing)
    else:
        text = encode_text(adapter, prompts, computing)
    items = [
        ListedVideo(str(path), (path.parent.resolve() / path.name).as_posix()) for path in videos
    ]
    stored = store.open(SINGLE_VIDEOS, Path(), items) if store is not None else None
    fresh = [p for p in range(len(videos)) if stored is None or p not in stored]
    read = guarded_calls(_read, reading, [videos[p] for p in fresh], computing.guard)
    waiting, results = set(fresh), []
    with progress("predicting", len(videos)) as advance:
        for position, path in enumerate(videos):
            found = next(read) if position in waiting else None
            if isinstance(found, Lost):
                found = VideoError(found.reason, where=str(path))
            try:
                if isinstance(found, VclipError):
                    raise found
                if stored is None:
                    frames = torch.from_numpy(found[0]).unsqueeze(0).to(computing.device)
                    scores = score_batch(adapter, text, frames, reading, computing, per_label)
                else:
                    values = _embedding(adapter, position, found, reading, computing, stored)
                    scores = score_embeddings(adapter, text, values, computing, per_label)
            except VclipError as error:
                results.append(RankedLabels(str(path), [], error))
            else:
                results.append(RankedLabels(str(path), _best(names, scores[0].cpu(), top)))
            if stored is not None and (position + 1) % FLUSH_EVERY == 0:
                stored.flush()
            advance(1)
    if stored is not None:
        stored.flush()
    return results


def _read(reading: VideoReading, path: Path) -> tuple[np.ndarray, Damage] | VclipError:
    """A video's views and its damage, or the error that says why it cannot be read."""
    try:
        return read_views_and_damage(path, reading)
    except VclipError as error:
        return error


def _embedding(
    adapter: Adapter,
    position: int,
    found: tuple[np.ndarray, Damage] | None,
    reading: VideoReading,
    computing: Computing,
    stored: StoredEmbeddings,
) -> np.ndarray:
    """What is stored of a video, or what is computed now of what was found, (1,V,…)."""
    if found is None:
        return stored.read([position])
    views, damage = found
    values = encode_batch(adapter, torch.from_numpy(views).unsqueeze(0), reading, computing)
    video = stored.items[position].video
    stored.add([position], values, {video: damage.as_dict()} if damage else {})
    return values


def _best(names: Sequence[str], scores: torch.Tensor, top: int) -> list[tuple[str, float]]:
    order = scores.argsort(descending=True, stable=True)[:top].tolist()
    return [(names[index], float(scores[index])) for index in order]
