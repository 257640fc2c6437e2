"""The few clips that are shown large: their frames, their attention, and whether the model at hand
gives the scores that were recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.embedding_pass import score_embeddings
from vclip_cli.engine.encoding.embedding_store import StoredEmbeddings
from vclip_cli.engine.encoding.scoring import Computing, encode_text
from vclip_cli.engine.loading.videos import VideoReading, read_views
from vclip_cli.models.contract import Adapter
from vclip_cli.report.attention import attention_of_first, watch_attention
from vclip_cli.report.material import ClipAttention, Missing, Strip
from vclip_cli.report.strips import LARGE, make_strip
from vclip_cli.results.predictions import Predictions
from vclip_cli.video.preprocess import normalise

FRAMES = 8
SMALLEST = 1e-8
AGREEMENT = 0.98
"""The least correlation of recorded and repeated log scores; another precision keeps above it."""


@dataclass(eq=False)
class Focus:
    """strips by video; attention: by video, or why there is none; other_model: why the model at
    hand is not taken for the recorded one, None where it agrees."""

    strips: dict[str, Strip] = field(default_factory=dict)
    attention: dict[str, ClipAttention] | Missing = field(default_factory=dict)
    other_model: Missing | None = None


def focus_clips(
    adapter: Adapter | Missing,
    prompts: Sequence[Sequence[str]],
    root: Path,
    paths: dict[str, str],
    reading: VideoReading,
    computing: Computing,
    predictions: Predictions,
    *,
    multi_label: bool,
    strip_bytes: int | None,
    stored: StoredEmbeddings | None = None,
    progress: Progress = no_progress,
    description: str = "looking at clips",
) -> Focus:
    """Read the clips (id to path) and look at them with the model; what cannot be read is left out.

    prompts: of the recorded classes. strip_bytes: None where no clip is shown; then only the
    scores are compared, from stored embeddings of the clips (in the order of `paths`) if possible.
    """
    text = None
    focus = Focus()
    if not isinstance(adapter, Missing):
        try:
            text = encode_text(adapter, prompts, computing)
        except VclipError as error:
            adapter = Missing(f"The model at hand cannot take the recorded prompts: {error.what}.")
            focus.other_model = adapter
    if isinstance(adapter, Missing):
        focus.attention = adapter
        if strip_bytes is None:
            return focus
    row = {video: place for place, video in enumerate(predictions.videos)}
    repeated: list[np.ndarray] = []
    recorded: list[np.ndarray] = []
    with progress(description, len(paths)) as advance:
        for position, (video, path) in enumerate(paths.items()):
            advance(1)
            shown = strip_bytes is not None or isinstance(adapter, Missing)
            if not shown and stored is not None and position in stored:
                logits = (lambda values: values) if multi_label else None
                values = stored.read([position])
                scores = score_embeddings(adapter, text, values, computing, logits)[0].cpu().numpy()
                repeated.append(_comparable(scores, multi_label))
                recorded.append(_comparable(predictions.scores[row[video]], multi_label))
                continue
            try:
                views = read_views(root / path, reading)
            except VclipError:
                continue
            if strip_bytes is not None:
                focus.strips[video] = make_strip(views[0], FRAMES, LARGE, strip_bytes)
            if isinstance(adapter, Missing):
                continue
            scores, seen = _look(adapter, text, views, reading, computing, multi_label)
            repeated.append(_comparable(scores, multi_label))
            recorded.append(_comparable(predictions.scores[row[video]], multi_label))
            if isinstance(seen, Missing):
                focus.attention = seen
            elif not isinstance(focus.attention, Missing):
                focus.attention[video] = seen
    if repeated and (agreement := _correlation(repeated, recorded)) < AGREEMENT:
        focus.other_model = Missing(
            "The model at hand does not give the recorded scores (their correlation on "
            f"{len(repeated)} clips is {agreement:.2f}), so nothing is shown of it."
        )
    return focus


@torch.inference_mode()
def _look(
    adapter: Adapter,
    text: object,
    views: np.ndarray,
    reading: VideoReading,
    computing: Computing,
    multi_label: bool,
) -> tuple[np.ndarray, ClipAttention | Missing]:
    """Scores (K,) of one video (V,T,S,S,3), and the attention of its first view."""
    clips = normalise(torch.from_numpy(views).to(computing.device), reading.preprocessing)
    with watch_attention(adapter) as watched:
        video = adapter.encode_video(clips)
    logits = adapter.score(video, text).float()
    scores = (logits if multi_label else logits.softmax(dim=-1)).mean(dim=0)
    return scores.cpu().numpy(), attention_of_first(adapter, watched, reading.sampling.frames)


def _comparable(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Scores of one clip around their mean; probabilities by their logarithm."""
    values = scores.astype(np.float64)
    values = values if multi_label else np.log(np.maximum(values, SMALLEST))
    return np.asarray(values - values.mean())


def _correlation(repeated: list[np.ndarray], recorded: list[np.ndarray]) -> float:
    one, other = np.concatenate(repeated), np.concatenate(recorded)
    if np.allclose(one, other, atol=1e-3):
        return 1.0
    spread = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / spread if spread else 0.0
