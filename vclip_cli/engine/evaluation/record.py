"""From a scored test set to its record."""

from __future__ import annotations

import os
import platform
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vclip_cli.data.protocol_lists import TestSet
from vclip_cli.engine.encoding.embedding_store import StoredEmbeddings
from vclip_cli.engine.encoding.encoder import device_name
from vclip_cli.engine.evaluation.plan import EvaluationPlan, labels_of, listed_videos
from vclip_cli.engine.requests import plain
from vclip_cli.engine.runs.diagnosis import library_versions, package_facts
from vclip_cli.engine.runs.parts import Scores
from vclip_cli.engine.runs.run_log import command_line
from vclip_cli.engine.specs import COUNT_AS_WRONG
from vclip_cli.results import record as records
from vclip_cli.results.measure import measure


@dataclass(frozen=True, eq=False)
class ScoredPass:
    """The result of a scoring pass over its test sets.

    classes, prompts: in the order of the scores' columns; seconds: wall time; multiply_adds: of one
    view; stored: the embeddings that were used, if any; decision: for several labels per video.
    """

    plan: EvaluationPlan
    classes: list[str]
    prompts: list[list[str]]
    scores: Scores
    started: datetime
    seconds: float
    multiply_adds: int | None
    stored: StoredEmbeddings | None
    decision: records.Decision | None = None

    def of(self, test: TestSet) -> ScoredPass:
        """The videos and the classes of one test set."""
        scores = self.scores
        wanted = {video for video, _ in listed_videos(test, self.plan.request.run.limit)}
        rows = [row for row, video in enumerate(scores.videos) if video in wanted]
        same = set(test.classes) == set(self.classes)
        classes = self.classes if same else list(test.classes)
        columns = [self.classes.index(name) for name in classes]
        narrow = replace(
            scores,
            videos=[scores.videos[row] for row in rows],
            scores=scores.scores[rows][:, columns] if rows else scores.scores[:0],
            failures=[failure for failure in scores.failures if failure.video in wanted],
            damage={video: signs for video, signs in scores.damage.items() if video in wanted},
        )
        prompts = [self.prompts[column] for column in columns]
        return replace(self, scores=narrow, classes=classes, prompts=prompts)


def build_record(
    scored: ScoredPass, test: TestSet, predictions: records.PredictionsFile
) -> records.Record:
    """Measure a test set and build its record, with the provenance.

    scored: narrowed to the test set.
    """
    plan, settings, scores = scored.plan, scored.plan.settings, scored.scores
    method, request = plan.method, plan.request
    every = labels_of(test)
    labels = [every[video] for video in scores.videos]
    counts_as_wrong = request.run.on_error == COUNT_AS_WRONG
    unread = [every[failure.video] for failure in scores.failures if counts_as_wrong]
    evaluation = measure(
        scores.scores,
        labels,
        scored.classes,
        names=plan.protocol.metrics,
        kind=plan.protocol.kind,
        threshold=None if scored.decision is None else scored.decision.threshold,
        unread=unread,
    )
    training, reading = method.training, settings.reading
    label_set, manifest = plan.dataset.label_set, plan.dataset.manifest
    cost = None
    if (adds := scored.multiply_adds) is not None:
        cost = records.Cost(
            multiply_adds_per_view=adds, multiply_adds_per_video=adds * reading.views
        )
    return records.Record(
        package=records.Package.model_validate(package_facts()),
        command=list(command_line()),
        config={"run_sha256": plan.document.sha256, **plan.document.recorded},
        overrides=_overrides(plan),
        protocol=records.RecordedProtocol(
            name=plan.protocol.name,
            version=plan.protocol.version,
            sha256=plan.protocol.sha256,
            shots=training.shots,
            metrics=list(plan.protocol.metrics),
            aggregate=records.RecordedAggregate(**plan.protocol.aggregate.model_dump()),
        ),
        dataset=records.RecordedDataset(
            name=test.dataset,
            split=test.split,
            part=test.part,
            manifest_sha256=test.manifest_sha256,
            split_sha256=test.split_sha256,
            label_set=records.RecordedLabelSet(
                name=label_set.name, version=label_set.version, sha256=label_set.sha256
            ),
            classes=scored.classes,
            absent=len(manifest.absent),
            unlisted=len(manifest.unlisted),
            remarks=list(manifest.remarks),
        ),
        prompts=records.Prompts(
            templates=list(settings.templates), text_variant=settings.text, texts=scored.prompts
        ),
        backbone=records.RecordedBackbone(**method.backbone),
        adapter=records.RecordedMethod(
            name=method.adapter.name,
            config=method.adapter.config.as_dict(),
            checkpoint_sha256=method.checkpoint_sha256,
            trainable_parameters=sum(
                entry.parameter.numel() for entry in method.adapter.trainable().values()
            ),
        ),
        video=records.Video(
            frames=reading.sampling.frames,
            decoder=reading.decoder_facts,
            store=reading.store_facts,
            sampling=reading.sampling.as_dict(),
            views=records.RecordedViews(clips=reading.sampling.clips, crops=reading.crops),
            preprocessing=reading.preprocessing.as_dict(),
            embeddings=scored.stored.store.key if scored.stored is not None else None,
        ),
        compute=records.Compute(
            precision=request.compute.precision,
            device=device_name(plan.encoder.device),
            world_size=scores.processes,
            batch_size=request.compute.batch_size,
            workers=request.workers.most_workers,
            libraries=library_versions(),
        ),
        seeds={"train": training.seed},
        counts=records.Counts(
            listed=test.rows["video"].nunique(),
            scored=len(labels),
            failed=len(scores.failures),
        ),
        failures=[records.RecordedFailure(**asdict(failure)) for failure in scores.failures],
        damage=[records.Damaged(video=video, **counts) for video, counts in scores.damage.items()],
        partial=request.run.limit is not None or training.partial,
        overlap_allowed=any(overlap.test == test.name for overlap in plan.overlaps),
        marks=_marks(plan, test, len(unread)),
        metrics=evaluation.metrics,
        per_class=evaluation.per_class,
        without_positives=evaluation.without_positives,
        decision=scored.decision,
        predictions=predictions,
        cost=cost,
        timing=records.Timing(
            started=scored.started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            wall_seconds=round(scored.seconds, 3),
            videos_per_second=round(scores.fresh / max(scored.seconds, 1e-9), 3),
            latency_milliseconds=None if scores.latency is None else round(1e3 * scores.latency, 3),
            embeddings_reused=scored.stored.reused if scored.stored is not None else 0,
            host={"name": platform.node(), "system": platform.platform(), "cores": os.cpu_count()},
        ),
    )


def _marks(plan: EvaluationPlan, test: TestSet, unread: int) -> list[str]:
    """The remarks that every table must print with this result."""
    marks = [
        f"{overlap.shared:,} of {overlap.of:,} videos of {overlap.test} were trained on"
        for overlap in plan.overlaps
        if overlap.test == test.name
    ]
    if unread:
        marks.append(f"{unread:,} videos that could not be read count as wrong")
    training = plan.method.training
    if training.unlisted:
        names = ", ".join(training.unlisted)
        marks.append(f"not compared with the training videos of {names}: too many to be stored")
    if failed := len(training.failures):
        marks.append(f"{failed:,} of {training.trained_on:,} training videos could not be read")
    return marks


def _overrides(plan: EvaluationPlan) -> list[records.Override]:
    """The values that differ from the protocol at test time, or from the recipe in training."""
    used, alpha = plan.document.settings, plan.method.interpolate
    changes: dict[str, tuple[Any, Any]] = {} if alpha is None else {"interpolate": (1, alpha)}
    for name, stated in plan.settings.overrides.items():
        setting = "template" if name == "templates" else name  # a record has the older name
        changes[name] = (plain(stated), used[setting])
    for name, (published, changed) in plan.method.training.overrides.items():
        changes[f"training.{name}"] = (published, changed)
    return [
        records.Override(field=name, protocol=stated, used=changed)
        for name, (stated, changed) in changes.items()
    ]
