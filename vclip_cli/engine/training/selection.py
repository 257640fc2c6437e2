"""Choosing an epoch by accuracy, or mAP, on a split that is not tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress
from vclip_cli.data.protocol_lists import protocol_tests
from vclip_cli.data.split import check_overlap
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.encoding.scoring import Computing, encode_text, score_batch
from vclip_cli.engine.evaluation.calibration import RawLogits
from vclip_cli.engine.loading.prefetch import prefetched
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, video_batches
from vclip_cli.engine.training.state import ResumeState
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import to_device
from vclip_cli.results.metrics import mean_average_precision, top_k_accuracy
from vclip_cli.results.scores import class_indices, label_matrix
from vclip_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from vclip_cli.engine.training.plan import TrainingPlan


@dataclass(frozen=True, eq=False)
class Selector:
    """Scores the split after each epoch and keeps the tensors of the best, the first of equals."""

    adapter: Adapter
    prompts: Sequence[Sequence[str]]
    root: Path
    items: Sequence[ListedVideo]
    labels: Sequence[tuple[str, ...]]
    classes: Sequence[str]
    multi_label: bool
    reading: VideoReading
    computing: Computing
    split: str

    @classmethod
    def build(cls, plan: TrainingPlan, progress: Progress) -> Selector:
        """Take the videos of the split that belong to the training classes.

        Raises UsageError for a split that the dataset lacks, ComparisonRefused when it shares
        videos with a test list: an epoch chosen on them would be reported on them.
        """
        from vclip_cli.engine.loading.datasets import prepare_videos

        name, compute = plan.request.training.select_on, plan.request.compute
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
        if plan.store is None:
            prepare_videos(plan.dataset.config.name, list(rows["video"]), progress=progress)
        return cls(
            adapter=plan.method.adapter,
            prompts=class_prompts(
                plan.label_set, plan.classes, plan.text, plan.templates
            ),
            root=plan.videos_root,
            items=[ListedVideo(video, path) for video, path in paths.items()],
            labels=labels.tolist(),
            classes=plan.classes,
            multi_label=manifest.multi_label,
            reading=VideoReading(
                Sampling(plan.recipe.frames), plan.method.adapter.preprocessing,
                decoder=plan.request.input.decoder, store=plan.store,
            ),
            computing=Computing(
                plan.device, compute.precision, compute.batch_size, plan.request.workers
            ),
            split=name,
        )  # fmt: skip

    @torch.no_grad()
    def look(self, epoch: int, state: ResumeState) -> None:
        """Measure this epoch; keep its tensors in the state when it is the best so far."""
        self.adapter.eval()
        text = encode_text(self.adapter, self.prompts, self.computing)
        size = self.computing.batch_size
        starts = range(0, len(self.items), size)
        batches = [range(start, min(start + size, len(self.items))) for start in starts]
        per_label = RawLogits() if self.multi_label else None
        scored: list[np.ndarray] = []
        labels: list[tuple[str, ...]] = []
        on_gpu = self.computing.device.type == "cuda"
        clips = video_batches(
            self.root,
            self.items,
            self.reading,
            batches,
            guard=self.computing.guard,
            pin_memory=on_gpu,
        )
        for batch in prefetched(clips) if on_gpu else clips:
            if batch.frames is None:
                continue
            frames = to_device(batch.frames, self.computing.device)
            scores = score_batch(
                self.adapter, text, frames, self.reading, self.computing, per_label
            )
            scored.append(scores.cpu().numpy())
            labels += [self.labels[position] for position in batch.positions]
        name = "map" if self.multi_label else "top1"
        value = 100 * self._measure(np.concatenate(scored), labels) if scored else 0.0
        if value > state.best.get(name, -1.0):
            state.best = {
                "select_on": self.split,
                "epoch": epoch,
                name: value,
                "n": len(labels),
                "tensors": _copied(self.adapter),
            }

    def _measure(self, scores: np.ndarray, labels: Sequence[tuple[str, ...]]) -> float:
        if self.multi_label:
            return mean_average_precision(scores, label_matrix(labels, self.classes))
        return top_k_accuracy(scores, class_indices(labels, self.classes))


def _copied(adapter: Adapter) -> dict[str, Any]:
    return {
        name: entry.parameter.detach().cpu().clone() for name, entry in adapter.trainable().items()
    }
