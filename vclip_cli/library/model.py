"""A loaded model: the calls that a notebook makes on single videos and on frames."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress, no_progress, progress_of
from vclip_cli.data.label_set import NATURAL, LabelSet, label_set_of, read_labels
from vclip_cli.engine.encoding.embedding_store import embedding_store
from vclip_cli.engine.encoding.encoder import Encoder, PerLabel, resolve_compute
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import LoadedMethod, candidate_classes, load_method
from vclip_cli.engine.encoding.settings import Settings, class_prompts, resolve_settings
from vclip_cli.engine.evaluation.calibration import own_probability, trained_probability
from vclip_cli.engine.loading.videos import read_views, views_of_frames
from vclip_cli.engine.predict import Candidates, RankedLabels, predict_videos
from vclip_cli.engine.requests import Request

if TYPE_CHECKING:
    import pandas as pd

Labels = str | Sequence[str] | LabelSet
"""Names, the text of `--labels` (names with commas, a label set, a file), or a loaded label set."""
log = logging.getLogger("vclip")

Video = str | Path | np.ndarray | torch.Tensor
"""A video's file, or its frames, uint8 (T,H,W,3)."""


@dataclass(frozen=True)
class Ranking:
    """Ranked labels of several videos.

    probability: maps logits to independent probabilities, None for the softmax over labels.
    """

    videos: list[RankedLabels]
    probability: PerLabel | None
    settings: Settings


@dataclass(frozen=True, eq=False)
class Model(LoadedMethod):
    """A method with its weights, on its device, ready for videos and labels.

    request: the settings that it was loaded with. Shapes: B videos, K labels, E embedding width.
    """

    request: Request = field(default_factory=Request)

    def __repr__(self) -> str:
        """The method and its backbone."""
        return f"<Model {self.adapter.name} on {self.backbone['name']}>"

    def classify(
        self,
        videos: Video | Sequence[Video],
        labels: Labels,
        *,
        top: int | None = None,
        multi_label: bool | None = None,
        progress: Progress | bool | None = None,
    ) -> pd.DataFrame:
        """Labels by probability, best first: columns `label` and `probability`.

        videos: one video, or a list of them, which adds a column `video` in front; top: the number
        of labels per video; multi_label: independent probabilities per label, None to follow the
        checkpoint's training. Raises VideoError for a video that cannot be read.
        """
        import pandas as pd

        several = isinstance(videos, list | tuple)
        listed = _listed(videos)
        label_set = as_label_set(labels)
        ranked = self.rank(
            listed, label_set, top=top, multi_label=multi_label, progress=progress_of(progress)
        )
        rows = []
        for result in ranked.videos:
            if result.error is not None:
                raise result.error
            rows += [(result.video, label, value) for label, value in result.labels]
        frame = pd.DataFrame(rows, columns=["video", "label", "probability"])
        return frame if several else frame[["label", "probability"]]

    def rank(
        self,
        videos: Sequence[Video],
        label_set: LabelSet,
        *,
        top: int | None = None,
        multi_label: bool | None = None,
        progress: Progress = no_progress,
    ) -> Ranking:
        """Rank the labels for each video; a video that cannot be read carries its error."""
        settings, encoder = self._settings(), self.encoder
        reading, stored = settings.reading, self.request.text.label_embeddings
        probability: PerLabel | None = trained_probability(self)
        if multi_label is not None:
            probability = own_probability(self) if multi_label else None
        if top is not None and (not isinstance(top, int) or top < 1):
            raise UsageError("top is a number of labels", found=repr(top), expected="1 or more")
        classes = candidate_classes(self, label_set.names, "the labels")
        if len(classes) == 1 and probability is None:
            log.warning("there is one label, %r: its probability is always 1", classes[0])
        prompts = self._prompts(label_set, classes, settings)
        if stored is not None:
            text = stored_text(stored, self, prompts, encoder.compute)
        else:
            text = encoder.encode_text(prompts)
        candidates = Candidates(classes, text, probability, len(classes) if top is None else top)
        files = [Path(video) for video in videos if isinstance(video, str | Path)]
        found: Iterator[RankedLabels] = iter(())
        if files:
            store = embedding_store(encoder, reading) if self.request.run.cache else None
            found = iter(
                predict_videos(encoder, files, reading, candidates, store, progress=progress)
            )
        results = []
        for number, video in enumerate(videos):
            if isinstance(video, str | Path):
                results.append(next(found))
                continue
            views = torch.from_numpy(views_of_frames(_as_frames(video), reading)).unsqueeze(0)
            encoded = encoder.encode(views, reading.preprocessing)
            name = f"frames {number}"
            results.append(candidates.rank(name, encoder, encoded, reading.views))
        return Ranking(results, probability, settings)

    def encode_video(self, videos: Video | Sequence[Video]) -> torch.Tensor:
        """The vector of each video, (B,E) float32, the mean over its views.

        Raises VideoError for a video that cannot be read, UsageError for a method that has no
        single vector for a video.
        """
        reading = self._settings().reading
        if not _listed(videos):
            raise UsageError("no video was given")
        vectors = []
        for video in _listed(videos):
            if isinstance(video, str | Path):
                views = read_views(Path(video), reading)
            else:
                views = views_of_frames(_as_frames(video), reading)
            encoded = self.encoder.encode(
                torch.from_numpy(views).unsqueeze(0), reading.preprocessing
            )
            with self.encoder.computing():
                vectors.append(self.adapter.embedding(encoded).float().mean(dim=0))
        return torch.stack(vectors)

    def encode_text(self, labels: Labels) -> Any:
        """The labels' text representation: (K,E) if the method has one vector per label."""
        label_set = as_label_set(labels)
        classes = candidate_classes(self, label_set.names, "the labels")
        prompts = self._prompts(label_set, classes, self._settings())
        return self.encoder.encode_text(prompts)

    @property
    def encoder(self) -> Encoder:
        """The method, as it computes: its device, precision and workers."""
        return Encoder(self.adapter, resolve_compute(self.request.compute), self.request.workers)

    def _settings(self) -> Settings:
        asked = self.request
        return resolve_settings(self.adapter, asked.input, asked.text, self.stated_views())

    def _prompts(
        self, label_set: LabelSet, classes: Sequence[str], settings: Settings
    ) -> list[list[str]]:
        variant = settings.text if settings.text in label_set.variants else NATURAL
        return class_prompts(label_set, classes, variant, settings.templates)


def open_model(request: Request) -> Model:
    """Load the method that a request names, in eval mode, on its device.

    Raises UsageError for unknown names, WeightsError for weights that are missing or do not fit.
    """
    compute = resolve_compute(request.compute)
    loaded = load_method(request.model)
    loaded.adapter.to(torch.device(compute.device))
    held = {part.name: getattr(loaded, part.name) for part in fields(loaded)}
    return Model(**held, request=request)


def as_label_set(labels: Any) -> LabelSet:
    """Labels as a label set: one that is loaded, a list of names, or the text of `--labels`.

    Raises UsageError for anything else, an empty list and a label that appears twice.
    """
    if isinstance(labels, LabelSet):
        return labels
    if isinstance(labels, str):
        return read_labels(labels)
    if not isinstance(labels, Iterable):
        raise UsageError("these are not labels", found=repr(labels), expected="a list of texts")
    names = list(labels)
    if not all(isinstance(name, str) for name in names):
        raise UsageError("a label is not a text", found=repr(names)[:80])
    return label_set_of(names, "labels")


def _listed(videos: Any) -> list[Any]:
    return list(videos) if isinstance(videos, list | tuple) else [videos]


def _as_frames(frames: np.ndarray | torch.Tensor) -> np.ndarray:
    """Frames as uint8 (T,H,W,3). Raises UsageError for anything else."""
    if isinstance(frames, torch.Tensor):
        if frames.dtype != torch.uint8:
            frames = frames.detach().float()  # numpy has no bfloat16; it is refused below
        frames = frames.cpu().numpy()
    found = np.asarray(frames)
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[-1] != 3 or not len(found):
        raise UsageError(
            "these are not the frames of a video",
            found=f"{found.dtype} {tuple(found.shape)}",
            expected="uint8 (T,H,W,3)",
        )
    return found
