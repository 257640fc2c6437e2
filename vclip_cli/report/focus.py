"""The few clips that are shown large: their frames, their attention, and whether the model at hand
gives the scores that were recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from vclip_cli.common.errors import VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.engine.encoding.embedding_store import StoredEmbeddings
from vclip_cli.engine.encoding.encoder import Encoder, RawLogits
from vclip_cli.engine.loading.videos import VideoSet, read_views
from vclip_cli.report.attention import attention_of_first, watch_attention
from vclip_cli.report.material import ClipAttention, Missing, Strip
from vclip_cli.report.strips import LARGE, make_strip
from vclip_cli.results.predictions import Predictions

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
    encoder: Encoder | Missing,
    prompts: Sequence[Sequence[str]],
    videos: VideoSet,
    predictions: Predictions,
    *,
    multi_label: bool,
    strip_bytes: int | None,
    stored: StoredEmbeddings | None = None,
    progress: Progress = no_progress,
    description: str = "looking at clips",
) -> Focus:
    """Read the videos and look at them with the model; what cannot be read is left out.

    prompts: of the recorded classes. strip_bytes: None where no video is shown; then only the
    scores are compared, from stored embeddings of the videos if possible.
    """
    text = None
    focus = Focus()
    if not isinstance(encoder, Missing):
        try:
            text = encoder.encode_text(prompts)
        except VclipError as error:
            encoder = Missing(f"The model at hand cannot take the recorded prompts: {error.what}.")
            focus.other_model = encoder
    if isinstance(encoder, Missing):
        focus.attention = encoder
        if strip_bytes is None:
            return focus
    per_label = RawLogits() if multi_label else None
    reading = videos.reading
    row = {video: place for place, video in enumerate(predictions.videos)}
    repeated: list[np.ndarray] = []
    recorded: list[np.ndarray] = []

    def compare(video: str, scores: np.ndarray) -> None:
        repeated.append(_comparable(scores, multi_label))
        recorded.append(_comparable(predictions.scores[row[video]], multi_label))

    with progress(description, len(videos)) as advance:
        for position, item in enumerate(videos.videos):
            advance(1)
            known = stored if strip_bytes is None else None
            if known is not None and not isinstance(encoder, Missing) and position in known:
                pooled = encoder.pool(known.read([position]))
                scores = encoder.score(pooled, text, reading.views, per_label, pooled=True)
                compare(item.video, scores[0])
                continue
            try:
                views = read_views(videos.root / item.path, reading)
            except VclipError:
                continue
            if strip_bytes is not None:
                focus.strips[item.video] = make_strip(views[0], FRAMES, LARGE, strip_bytes)
            if isinstance(encoder, Missing):
                continue
            with watch_attention(encoder.adapter) as watched:
                frames = torch.from_numpy(views).unsqueeze(0)
                encoded = encoder.encode(frames, reading.preprocessing)
            compare(item.video, encoder.score(encoded, text, reading.views, per_label)[0])
            seen = attention_of_first(encoder.adapter, watched, reading.sampling.frames)
            if isinstance(seen, Missing):
                focus.attention = seen
            elif not isinstance(focus.attention, Missing):
                focus.attention[item.video] = seen
    if repeated and (agreement := _correlation(repeated, recorded)) < AGREEMENT:
        focus.other_model = Missing(
            "The model at hand does not give the recorded scores (their correlation on "
            f"{len(repeated)} clips is {agreement:.2f}), so nothing is shown of it."
        )
    return focus


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
