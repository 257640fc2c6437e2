"""Choosing an epoch by accuracy, or mAP, on a split that is not tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vclip_cli.common.errors import UsageError
from vclip_cli.common.long_work import Progress
from vclip_cli.data.protocol_lists import protocol_tests
from vclip_cli.data.split import check_overlap
from vclip_cli.engine.encoding.encoder import RawLogits
from vclip_cli.engine.encoding.passes import encoded_batches
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.specs import InputSpec
from vclip_cli.engine.training.outcome import ResumeState, trained_tensors
from vclip_cli.engine.training.plan import TrainingPlan
from vclip_cli.results.measure import find_metric
from vclip_cli.results.metric import scored_videos


@dataclass(frozen=True, eq=False)
class Selector:
    """Scores the split after each epoch and keeps the best epoch's tensors; the first wins a tie.

    labels: the class names of each of the videos.
    """

    plan: TrainingPlan
    videos: VideoSet
    labels: Sequence[tuple[str, ...]]

    @classmethod
    def build(cls, plan: TrainingPlan, progress: Progress) -> Selector:
        """Take the videos of the split that belong to the training classes.

        Raises UsageError for a split that the dataset lacks, ComparisonRefused when it shares
        videos with a test list: an epoch chosen on them would be reported on them.
        """
        name, manifest = str(plan.request.training.select_on), plan.dataset.manifest
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
        others = {test.name: test.rows["video"] for test in tests}
        others["the training list"] = plan.split.rows["video"]
        check_overlap(set(rows["video"]), others)
        listed = [ListedVideo(str(video), path) for video, path in paths.items()]
        asked = InputSpec(frames=plan.recipe.frames, decoder=plan.data.reading.decoder)
        videos = plan.video_set(listed, asked)
        videos.prepare(progress)
        return cls(plan, videos, labels.tolist())

    def look(self, epoch: int, state: ResumeState) -> None:
        """Measure this epoch; keep its tensors in the state when it is the best so far."""
        encoder, protocol = self.plan.encoder, self.plan.protocol
        encoder.adapter.eval()
        text = encoder.encode_text(self.plan.data.prompts)
        division = Division(len(self.videos), encoder.compute.batch_size)
        name, per_label = "top1", None
        if self.plan.data.multi_label:
            name, per_label = "map", RawLogits()
        scores: list[np.ndarray] = []
        labels: list[tuple[str, ...]] = []
        for batch in encoded_batches(encoder, self.videos, division):
            if batch.encoded is not None:
                views = self.videos.reading.views
                scores.append(encoder.score(batch.encoded, text, views, per_label))
                labels += [self.labels[position] for position in batch.positions]
        value = 0.0
        if scores:
            scored = scored_videos(np.concatenate(scores), labels, self.plan.classes, protocol.kind)
            value = 100 * find_metric(name).value(scored)
        if value > state.best.get(name, -1.0):
            state.best = {
                "select_on": self.plan.request.training.select_on,
                "epoch": epoch,
                name: value,
                "n": len(labels),
                "tensors": trained_tensors(encoder.adapter),
            }
