"""From a scored test set to its record."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from vclip_cli.engine.encoding.devices import device_name
from vclip_cli.engine.loading.videos import Failure
from vclip_cli.engine.requests import plain
from vclip_cli.engine.runs.environment import library_versions, package_facts
from vclip_cli.engine.runs.run_log import command_line
from vclip_cli.results import record as records
from vclip_cli.results.metrics import evaluate_single_label
from vclip_cli.results.multi_label import evaluate_labels

if TYPE_CHECKING:
    from vclip_cli.data.protocol_lists import TestSet
    from vclip_cli.engine.evaluation.plan import EvaluationPlan


@dataclass(frozen=True, eq=False)
class RunFacts:
    """What the test sets of one scoring pass share.

    classes: in the order of the scores' columns; seconds: wall time of the pass; scored: how many
    videos it encoded; processes: among how many they were divided; latency: seconds of one of them
    in the model; multiply_adds: of one view; embeddings: the key of the store that was used, if
    any, and how many came of it; decision: for several labels a video, None for one.
    """

    plan: EvaluationPlan
    prompts: list[list[str]]
    classes: list[str]
    started: datetime
    seconds: float
    scored: int
    processes: int
    latency: float | None
    multiply_adds: int | None
    embeddings: str | None = None
    embeddings_reused: int = 0
    decision: records.Decision | None = None


def build_record(
    facts: RunFacts,
    test: TestSet,
    labels: Sequence[tuple[str, ...]],
    scores: np.ndarray,
    failures: Sequence[Failure],
    unread: Sequence[tuple[str, ...]],
    damage: dict[str, dict[str, int]],
    predictions_file: str,
    predictions_sha256: str,
) -> records.Record:
    """Measure a test set and join the measures with where they come from.

    unread: the labels of videos without scores that count as wrong.
    """
    plan, settings = facts.plan, facts.plan.settings
    method, request = plan.method, plan.request
    if facts.decision is not None:
        chosen = facts.decision.threshold
        nothing = np.zeros((len(unread), scores.shape[1]), scores.dtype)
        evaluation = evaluate_labels(
            np.concatenate([scores, nothing]), [*labels, *unread], facts.classes, threshold=chosen
        )
    else:
        evaluation = evaluate_single_label(scores, labels, facts.classes, unread=unread)
    training = method.training
    reading = settings.reading
    label_set = plan.dataset.label_set
    return records.Record(
        package=records.Package.model_validate(package_facts()),
        command=list(command_line()),
        config={"run_sha256": plan.document.sha256, **plan.document.recorded},
        overrides=_overrides(plan),
        protocol=records.Protocol(
            name=plan.protocol.name,
            version=plan.protocol.version,
            sha256=plan.protocol.sha256,
            shots=training.shots,
        ),
        dataset=records.Dataset(
            name=test.dataset,
            split=test.split,
            part=test.part,
            manifest_sha256=test.manifest_sha256,
            split_sha256=test.split_sha256,
            label_set=records.LabelSet(
                name=label_set.name, version=label_set.version, sha256=label_set.sha256
            ),
            classes=facts.classes,
            absent=len(plan.dataset.manifest.absent),
            unlisted=len(plan.dataset.manifest.unlisted),
            remarks=list(plan.dataset.manifest.remarks),
        ),
        prompts=records.Prompts(
            templates=list(settings.templates), text_variant=settings.text, texts=facts.prompts
        ),
        backbone=records.Backbone(**method.backbone),
        adapter=records.Adapter(
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
            views=records.Views(clips=reading.sampling.clips, crops=reading.crops),
            preprocessing=reading.preprocessing.as_dict(),
            embeddings=facts.embeddings,
        ),
        compute=records.Compute(
            precision=request.compute.precision,
            device=device_name(plan.computing.device),
            world_size=facts.processes,
            batch_size=request.compute.batch_size,
            workers=request.workers.most_workers,
            libraries=library_versions(),
        ),
        seeds={"train": training.seed},
        counts=records.Counts(
            listed=test.rows["video"].nunique(), scored=len(labels), failed=len(failures)
        ),
        failures=[records.Failure(**vars(failure)) for failure in failures],
        damage=[records.Damaged(video=video, **counts) for video, counts in damage.items()],
        partial=request.run.limit is not None or training.partial,
        overlap_allowed=any(overlap.test == test.name for overlap in plan.overlaps),
        marks=_marks(plan, test, len(unread)),
        metrics=evaluation.metrics,
        per_class=evaluation.per_class,
        without_positives=evaluation.without_positives,
        decision=facts.decision,
        predictions=records.PredictionsFile(file=predictions_file, sha256=predictions_sha256),
        cost=_cost(facts),
        timing=records.Timing(
            started=facts.started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            wall_seconds=round(facts.seconds, 3),
            videos_per_second=round(facts.scored / max(facts.seconds, 1e-9), 3),
            latency_milliseconds=None if facts.latency is None else round(1e3 * facts.latency, 3),
            embeddings_reused=facts.embeddings_reused,
            host={"name": platform.node(), "system": platform.platform(), "cores": os.cpu_count()},
        ),
    )


def _cost(facts: RunFacts) -> records.Cost | None:
    if facts.multiply_adds is None:
        return None
    return records.Cost(
        multiply_adds_per_view=facts.multiply_adds,
        multiply_adds_per_video=facts.multiply_adds * facts.plan.settings.reading.views,
    )


def _marks(plan: EvaluationPlan, test: TestSet, unread: int) -> list[str]:
    """What every table must say of this result."""
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
    """What differs from the protocol at test time, and from the recipe in training."""
    used, alpha = plan.document.settings, plan.method.interpolate
    tested = (
        [] if alpha is None else [records.Override(field="interpolate", protocol=1, used=alpha)]
    )
    tested += [
        records.Override(field=name, protocol=plain(stated), used=used[_SETTING.get(name, name)])
        for name, stated in plan.settings.overrides.items()
    ]
    trained = [
        records.Override(field=f"training.{name}", protocol=published, used=changed)
        for name, (published, changed) in plan.method.training.overrides.items()
    ]
    return tested + trained


_SETTING = {"templates": "template"}
"""What a record calls an override, and the setting behind it."""
