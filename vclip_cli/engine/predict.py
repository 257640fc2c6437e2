"""Ranked labels for single videos, outside any dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vclip_cli.data.label_set import NATURAL, LabelSet
from vclip_cli.engine.clips import ClipReading, read_views
from vclip_cli.engine.guarded import Lost, guarded_calls
from vclip_cli.engine.label_embeddings import stored_text
from vclip_cli.engine.methods import LoadedMethod, order_of_classes
from vclip_cli.engine.prompting import class_prompts
from vclip_cli.engine.scoring import Computing, PerLabel, encode_text, score_batch
from vclip_cli.errors import VclipError, VideoError
from vclip_cli.models.contract import Adapter
from vclip_cli.progress import Progress, no_progress


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
    reading: ClipReading,
    computing: Computing,
    *,
    variant: str,
    templates: Sequence[str],
    top: int,
    per_label: PerLabel | None = None,
    label_embeddings: Path | None = None,
    progress: Progress = no_progress,
) -> list[RankedLabels]:
    """Score each video over all labels; a video that cannot be read carries its error instead.

    per_label: a probability for each label by itself; None for the softmax over the labels.
    label_embeddings: a file to take the labels' embeddings from.
    """
    adapter = method.adapter.to(computing.device)
    names = order_of_classes(method, label_set.names, "the labels")
    if variant not in label_set.variants:  # a paper's variant, for labels given by hand
        variant = NATURAL
    prompts = class_prompts(label_set, names, variant, templates)
    if label_embeddings is not None:
        text = stored_text(label_embeddings, method, prompts, computing)
    else:
        text = encode_text(adapter, prompts, computing)
    results = []
    with progress("predicting", len(videos)) as advance:
        read = guarded_calls(_views_or_error, reading, videos, computing.guard)
        for path, views in zip(videos, read, strict=True):
            if isinstance(views, Lost):
                views = VideoError(views.reason, where=str(path))
            if isinstance(views, VclipError):
                results.append(RankedLabels(str(path), [], views))
            else:
                results.append(
                    _rank(adapter, text, path, views, names, reading, computing, top, per_label)
                )
            advance(1)
    return results


def _views_or_error(reading: ClipReading, path: Path) -> np.ndarray | VclipError:
    try:
        return read_views(path, reading)
    except VclipError as error:
        return error


def _rank(
    adapter: Adapter,
    text: Any,
    path: Path,
    views: np.ndarray,
    names: Sequence[str],
    reading: ClipReading,
    computing: Computing,
    top: int,
    per_label: PerLabel | None,
) -> RankedLabels:
    frames = torch.from_numpy(views).unsqueeze(0).to(computing.device)
    scores = score_batch(adapter, text, frames, reading, computing, per_label)[0].cpu()
    order = scores.argsort(descending=True, stable=True)[:top].tolist()
    return RankedLabels(str(path), [(names[index], float(scores[index])) for index in order])
