"""Choosing an epoch by accuracy, or mAP, on a split that is not tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress
from vclip_cli.data.protocol_lists import protocol_tests
from vclip_cli.data.split import check_overlap
from vclip_cli.engine.encoding.encoder import Encoder, RawLogits
from vclip_cli.engine.encoding.passes import encoded_batches
from vclip_cli.engine.encoding.settings import class_prompts, resolve_settings
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.specs import InputSpec
from vclip_cli.engine.training.outcome import ResumeState
from vclip_cli.engine.training.plan import TrainingPlan
from vclip_cli.models.contract import Adapter
from vclip_cli.results.metrics import mean_average_precision, top_k_accuracy
from vclip_cli.results.scores import class_indices, label_matrix


@dataclass(frozen=True, eq=False)
class Selector:
    """Scores the split after each epoch and keeps the tensors of the best, the first of equals."""

    encoder: Encoder
    prompts: Sequence[Sequence[str]]
    videos: VideoSet
    labels: Sequence[tuple[str, ...]]
    classes: Sequence[str]
    multi_label: bool
    split: str

    @classmethod
    def build(cls, plan: TrainingPlan, progress: Progress) -> Selector:
        """Take the videos of the split that belong to the training classes.

        Raises UsageError for a split that the dataset lacks, ComparisonRefused when it shares
        videos with a test list: an epoch chosen on them would be reported on them.
        """
        name = plan.request.training.select_on
        assert name is not None
        manifest = plan.dataset.manifest
        if name not in manifest.splits:
            raise UsageError(
                f"the dataset has no split {name!r} to select on",
                expected=", ".join(manifest.splits),
            )
        inside = manifest.rows["splits"].str.split(";").map(lambda names: name in names)
        rows = manifest.rows[inside & manifest.rows["class"].isin(plan.classes)]
        by_video = rows.groupby("video", sort=False)
        labels, paths = by_video["class"].agg(tuple), by_video["path"].first()
        tests = protocol_tests(plan.protocol, plan.dataset)
        others = {test.name: list(test.rows["video"]) for test in tests}
        check_overlap(
            list(rows["video"]), {**others, "the training list": list(plan.split.rows["video"])}
        )
        asked = InputSpec(frames=plan.recipe.frames, decoder=plan.request.input.decoder)
        reading = resolve_settings(plan.method.adapter, asked).reading
        reading = replace(reading, store=plan.store)
        listed = [ListedVideo(str(video), path) for video, path in paths.items()]
        videos = VideoSet(plan.videos_root, listed, reading, plan.dataset.config.name)
        videos.prepare(progress)
        return cls(
            encoder=plan.encoder,
            prompts=class_prompts(plan.label_set, plan.classes, plan.text, plan.templates),
            videos=videos,
            labels=labels.tolist(),
            classes=plan.classes,
            multi_label=manifest.multi_label,
            split=name,
        )

    def look(self, epoch: int, state: ResumeState) -> None:
        """Measure this epoch; keep its tensors in the state when it is the best so far."""
        encoder, adapter = self.encoder, self.encoder.adapter.eval()
        text = encoder.encode_text(self.prompts)
        division = Division(len(self.videos), encoder.compute.batch_size)
        per_label = RawLogits() if self.multi_label else None
        views = self.videos.reading.views
        scored: list[np.ndarray] = []
        labels: list[tuple[str, ...]] = []
        for batch in encoded_batches(encoder, self.videos, division):
            if batch.encoded is not None:
                scored.append(encoder.score(batch.encoded, text, views, per_label))
                labels += [self.labels[position] for position in batch.positions]
        name = "map" if self.multi_label else "top1"
        value = 100 * self._measure(np.concatenate(scored), labels) if scored else 0.0
        if value > state.best.get(name, -1.0):
            state.best = {
                "select_on": self.split,
                "epoch": epoch,
                name: value,
                "n": len(labels),
                "tensors": _copied(adapter),
            }

    def _measure(self, scores: np.ndarray, labels: Sequence[tuple[str, ...]]) -> float:
        if self.multi_label:
            return mean_average_precision(scores, label_matrix(labels, self.classes))
        return top_k_accuracy(scores, class_indices(labels, self.classes))


def _copied(adapter: Adapter) -> dict[str, Any]:
    return {
        name: entry.parameter.detach().cpu().clone() for name, entry in adapter.trainable().items()
    }
