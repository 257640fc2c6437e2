"""One method on all test sets of a protocol for one dataset: predictions and records.

Videos that several test sets share are scored once. Exactly the listed ids are scored; a video that
cannot be read is listed with its reason.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.files import (
    folder_lock,
    require_writable_folder,
    sha256_file,
    sha256_json,
    write_json,
)
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol_lists import TestSet
from vclip_cli.engine.encoding.embedding_store import EmbeddingStore, embedding_store
from vclip_cli.engine.encoding.encoder import PerLabel, RawLogits, count_multiply_adds
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.passes import score_videos
from vclip_cli.engine.evaluation.calibration import LabelProbability, decide
from vclip_cli.engine.evaluation.plan import (
    EvaluationPlan,
    labels_of,
    listed_videos,
    tests_by_classes,
    videos_of_passes,
)
from vclip_cli.engine.evaluation.record import ScoredPass, build_record
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.requests import RUN_FILE
from vclip_cli.engine.runs.parts import Scores
from vclip_cli.engine.runs.run_log import RunLog, open_run_log
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.results.predictions import write_predictions
from vclip_cli.results.record import RECORD_FILE, PredictionsFile, Record, read_record, write_record

PREDICTIONS_FILE = "predictions.parquet"
PARTS = "parts"


@dataclass(frozen=True, repr=False)
class Result:
    """A method on one test set: its record, the record's path, and whether it was reused."""

    test: TestSet
    record: Record
    path: Path
    reused: bool

    @property
    def metrics(self) -> dict[str, float]:
        """Metric to value; `record.metrics` has the intervals."""
        return {name: metric.value for name, metric in self.record.metrics.items()}

    @property
    def per_class(self) -> pd.DataFrame:
        """One row per class: name, value and videos, for the metric `record.per_class`."""
        return pd.DataFrame([entry.model_dump() for entry in self.record.per_class.values])

    @property
    def predictions(self) -> pd.DataFrame:
        """One row per scored video, as in the predictions file."""
        assert self.record.predictions is not None  # evaluation always writes them
        return pd.read_parquet(self.path.with_name(self.record.predictions.file))

    def __repr__(self) -> str:
        """The test set and its metrics, for a notebook."""
        values = ", ".join(f"{name} {value:.1f}" for name, value in self.metrics.items())
        return f"<Result {self.test.name}: {values}>"


def evaluate_plan(plan: EvaluationPlan, *, progress: Progress = no_progress) -> list[Result]:
    """Score all test sets of a plan and write predictions and records.

    Of several processes only rank 0 writes and returns results. An interrupted run continues
    after its last finished part; a finished run is read, not repeated.
    Raises DataError when no listed video can be scored, UsageError when the folder holds another
    run.
    """
    require_writable_folder(plan.folder)
    shard = plan.shard
    if not plan.request.run.resume and shard.count > 1:
        raise UsageError("--no-resume is for one process: others could delete what it has written")
    with contextlib.ExitStack() as held:
        if shard.is_main:
            held.enter_context(folder_lock(plan.folder, "evaluating into"))
        if not plan.request.run.resume:
            _remove_run(plan.folder)
        else:
            plan.document.earlier(plan.folder)  # refuses another run
            finished = [found for test in plan.tests if (found := _finished(plan, test))]
            if len(finished) == len(plan.tests):
                return finished
        videos = sum(videos_of_passes(plan))
        log = held.enter_context(open_run_log(plan.folder, "eval", shard, total=videos))
        write_json(plan.folder / RUN_FILE, plan.document.as_dict())
        return _evaluate(plan, log, progress)


@dataclass(frozen=True, eq=False)
class Scoring:
    """The state that a plan's passes share. store: the embeddings to reuse, None for none."""

    plan: EvaluationPlan
    store: EmbeddingStore | None
    log: RunLog
    progress: Progress

    def score(
        self, tests: Sequence[TestSet], per_label: PerLabel | None, shard: Shard | None = None
    ) -> ScoredPass | None:
        """Score the union of several test sets over the classes of the widest one.

        shard: None scores everything in this process, without a log. See `score_videos`.
        """
        plan, run = self.plan, self.plan.request.run
        reading, stored_texts = plan.settings.reading, plan.request.text.label_embeddings
        classes = plan.classes(max(tests, key=lambda test: len(test.classes)))
        prompts = plan.prompts(classes)
        started, clock = datetime.now(UTC), time.perf_counter()
        if stored_texts is not None:
            text: Any = stored_text(stored_texts, plan.method, prompts, plan.encoder.compute)
        else:
            text = plan.encoder.encode_text(prompts)
        paths = {video: path for test in tests for video, path in listed_videos(test, run.limit)}
        listed = [ListedVideo(video, path) for video, path in paths.items()]
        root = plan.dataset.require_videos()
        videos = VideoSet(root, listed, reading, plan.dataset.config.name)
        videos.prepare(self.progress)
        sizes = [item.source(root).size for item in listed]
        what = [plan.document.sha256, prompts, [asdict(item) for item in listed], sizes]
        if per_label is not None:
            what.append(repr(per_label))
        stored = self.store.open(videos) if self.store is not None else None
        scores = score_videos(
            plan.encoder,
            text,
            videos,
            plan.folder / PARTS / sha256_json(what)[:16],
            per_label=per_label,
            stored=stored,
            shard=shard,
            merge=run.merge and shard is not None,
            stop=run.on_error == "stop",
            log=self.log if shard is not None else None,
            progress=self.progress,
            description=f"scoring {', '.join(test.name for test in tests)}",
        )
        if scores is None:
            return None
        seconds = time.perf_counter() - clock
        cost = count_multiply_adds(plan.method.adapter, text, reading)
        return ScoredPass(plan, classes, prompts, scores, started, seconds, cost, stored)

    def logits(self, test: TestSet) -> Scores:
        """The logits of a test set; every process scores the whole set."""
        scored = self.score([test], RawLogits())
        assert scored is not None  # no shard was given
        return scored.scores


def _evaluate(plan: EvaluationPlan, log: RunLog, progress: Progress) -> list[Result]:
    plan.method.adapter.to(plan.encoder.device)
    cached = plan.request.run.cache
    store = embedding_store(plan.encoder, plan.settings.reading) if cached else None
    scoring = Scoring(plan, store, log, progress)
    decision = per_label = None
    if plan.tests[0].multi_label:
        decision = decide(plan, scoring.logits)
        per_label = LabelProbability(decision.slope, decision.bias, decision.source)
    done = []
    for tests in tests_by_classes(plan.tests):
        scored = scoring.score(tests, per_label, plan.shard)
        if scored is not None:
            done += [_finish(test, replace(scored.of(test), decision=decision)) for test in tests]
    if plan.shard.is_main:
        shutil.rmtree(plan.folder / PARTS, ignore_errors=True)
    return done


def _remove_run(folder: Path) -> None:
    """Delete what an evaluation wrote into its folder, so that no record of another run stays."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    (folder / RUN_FILE).unlink(missing_ok=True)
    for record in folder.glob(f"*/{RECORD_FILE}"):
        record.with_name(PREDICTIONS_FILE).unlink(missing_ok=True)
        record.unlink()
        with contextlib.suppress(OSError):  # other files may lie there as well
            record.parent.rmdir()


def _finish(test: TestSet, scored: ScoredPass) -> Result:
    """Write the predictions and the record of one test set."""
    scores, folder = scored.scores, scored.plan.folder / test.name.replace("/", "_")
    if not scores.videos:
        listed = listed_videos(test, scored.plan.request.run.limit)
        raise DataError(
            f"none of the {len(listed):,} listed videos of {test.name} could be scored",
            found=scores.failures[0].reason if scores.failures else None,
            hint=f"vclip data check {test.dataset}",
        )
    labels = labels_of(test)
    digest = write_predictions(
        folder / PREDICTIONS_FILE,
        scores.videos,
        [labels[video] for video in scores.videos],
        scores.scores,
        scored.classes,
    )
    predictions = PredictionsFile(file=PREDICTIONS_FILE, sha256=digest)
    record = build_record(scored, test, predictions)
    write_record(record, folder / RECORD_FILE)
    return Result(test, record, folder / RECORD_FILE, reused=False)


def _finished(plan: EvaluationPlan, test: TestSet) -> Result | None:
    """The record of an equal earlier run, if its predictions file still matches it."""
    path = plan.folder / test.name.replace("/", "_") / RECORD_FILE
    if not path.is_file():
        return None
    record = read_record(path)
    file = record.predictions
    if file is None or record.config.get("run_sha256") != plan.document.sha256:
        return None
    predictions = path.parent / file.file
    if not predictions.is_file() or sha256_file(predictions) != file.sha256:
        return None
    return Result(test, record, path, reused=True)
