"""One method on all test sets of a protocol for one dataset: predictions and records.

Videos that several test sets shard are scored once. Exactly the listed ids are scored; what cannot
be read is listed with its reason.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.files import require_writable_folder, sha256_file, sha256_json, write_json
from vclip_cli.common.locks import folder_lock
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol_lists import TestSet
from vclip_cli.engine.encoding.costs import count_multiply_adds
from vclip_cli.engine.encoding.embedding_store import (
    EmbeddingStore,
    StoredEmbeddings,
    embedding_store,
)
from vclip_cli.engine.encoding.label_embeddings import stored_text
from vclip_cli.engine.encoding.model import (
    candidate_classes,
)
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.encoding.scoring import Pass, PerLabel, encode_text, score_videos
from vclip_cli.engine.evaluation.calibration import applied, decide
from vclip_cli.engine.evaluation.plan import EvaluationPlan
from vclip_cli.engine.evaluation.record import RunFacts, build_record
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.loading.videos import ListedVideo
from vclip_cli.engine.runs.parts import Scores, videos_per_process
from vclip_cli.engine.runs.run_log import RunLog, log_name, open_run_log
from vclip_cli.engine.runs.shards import Shard
from vclip_cli.engine.runs.workload import Workload
from vclip_cli.engine.specs import COUNT_AS_WRONG
from vclip_cli.results.predictions import write_predictions
from vclip_cli.results.record import RECORD_FILE, Record, read_record, write_record

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS_FILE = "predictions.parquet"
RUN_FILE = "run.json"
PARTS = "parts"


@dataclass(frozen=True, repr=False)
class Result:
    """A method on one test set: its record, where that lies, and whether an earlier run made it."""

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
        """One row a class: name, value and number of videos of the metric `record.per_class`."""
        import pandas as pd

        return pd.DataFrame([entry.model_dump() for entry in self.record.per_class.values])

    @property
    def predictions(self) -> pd.DataFrame:
        """One row a scored video, as the predictions file has it."""
        import pandas as pd

        assert self.record.predictions is not None  # evaluation always writes them
        return pd.read_parquet(self.path.with_name(self.record.predictions.file))

    def __repr__(self) -> str:
        """The test set and its metrics, for a notebook."""
        values = ", ".join(f"{name} {value:.1f}" for name, value in self.metrics.items())
        return f"<Result {self.test.name}: {values}>"


def evaluate_plan(plan: EvaluationPlan, *, progress: Progress = no_progress) -> list[Result]:
    """Score all test sets of a plan and write predictions and records.

    Of several processes only the first one writes, and gives what was evaluated.

    An interrupted run goes on after its last whole part; a finished one is read, not repeated.
    Raises DataError when no listed video can be scored, UsageError when the folder holds another
    run.
    """
    require_writable_folder(plan.folder)
    shard = plan.shard
    if not plan.request.run.resume and shard.count > 1:
        raise UsageError("--no-resume is for one process: the others might come too late for it")
    with contextlib.ExitStack() as held:
        if shard.is_main:
            held.enter_context(folder_lock(plan.folder, "evaluating into"))
        if not plan.request.run.resume:
            _remove_run(plan.folder)
        else:
            _refuse_another_run(plan)
            finished = [_finished(plan, test) for test in plan.tests]
            if all(entry is not None for entry in finished):
                return [entry for entry in finished if entry is not None]
        videos = sum(_videos_of_passes(plan))
        log = held.enter_context(open_run_log(plan.folder, "eval", log_name(shard), total=videos))
        write_json(plan.folder / RUN_FILE, plan.document.as_dict())
        return _evaluate(plan, log, progress)


def _videos_of_passes(plan: EvaluationPlan) -> list[int]:
    groups, limit = _by_classes(plan.tests).values(), plan.request.run.limit
    return [len({v for t in tests for v, _ in listed_videos(t, limit)}) for tests in groups]


def planned_per_process(plan: EvaluationPlan) -> list[int]:
    """How many videos each process of the request's division scores, over all passes."""
    size, count = plan.computing.batch_size, plan.shard.count
    passes = [videos_per_process(videos, size, count) for videos in _videos_of_passes(plan)]
    return [sum(of_one) for of_one in zip(*passes, strict=True)]


def planned_evaluation(plan: EvaluationPlan, rate: float | None) -> dict[str, Any]:
    """What `--dry-run` prints. rate: videos a second of one process."""
    return {
        "work": Workload(planned_per_process(plan), rate).as_dict(),
        "out": str(plan.folder),
        "run_sha256": plan.document.sha256,
        "device": str(plan.computing.device),
        **plan.document.as_dict(),
        "tests": [
            {
                "name": test.name,
                "videos": int(test.rows["video"].nunique()),
                "absent": int((test.rows["path"] == "").sum()),
                "classes": len(test.classes),
                "bytes_of_scores": 4 * len(test.classes) * int(test.rows["video"].nunique()),
            }
            for test in plan.tests
        ],
    }


def _evaluate(plan: EvaluationPlan, log: RunLog, progress: Progress) -> list[Result]:
    plan.method.adapter.to(plan.computing.device)
    decision = decide(plan, progress) if plan.tests[0].multi_label else None
    per_label = applied(decision) if decision is not None else None
    store = embeddings_of(plan)
    done = []
    for classes, tests in _by_classes(plan.tests).items():
        ordered = candidate_classes(plan.method, classes, tests[0].name)
        prompts = class_prompts(
            plan.dataset.label_set, ordered, plan.settings.text, plan.settings.templates
        )
        started, clock = datetime.now(UTC), time.perf_counter()
        text = encode_classes(plan, prompts)
        scores, stored = score_tests(
            plan,
            tests,
            prompts,
            progress,
            per_label,
            text=text,
            store=store,
            shard=plan.shard,
            log=log,
        )
        if scores is None:
            continue
        facts = RunFacts(
            plan=plan,
            prompts=prompts,
            classes=list(ordered),
            started=started,
            seconds=time.perf_counter() - clock,
            scored=scores.fresh,
            processes=scores.processes,
            latency=scores.latency,
            multiply_adds=count_multiply_adds(plan.method.adapter, text, plan.settings.reading),
            embeddings=store.key if store is not None else None,
            embeddings_reused=stored.reused if stored is not None else 0,
            decision=decision,
        )
        done += [_finish(plan, test, *_narrowed(test, scores, facts)) for test in tests]
    if plan.shard.is_main:
        shutil.rmtree(plan.folder / PARTS, ignore_errors=True)
    return done


def embeddings_of(plan: EvaluationPlan) -> EmbeddingStore | None:
    """The store that a run's embeddings come from and go to; None without one."""
    if not plan.request.run.cache:
        return None
    return embedding_store(
        plan.method.adapter,
        plan.settings.reading,
        plan.computing.precision,
        plan.computing.device.type,
    )


def _remove_run(folder: Path) -> None:
    """Delete what an evaluation wrote into its folder: another's records must not stay behind."""
    shutil.rmtree(folder / PARTS, ignore_errors=True)
    (folder / RUN_FILE).unlink(missing_ok=True)
    for record in folder.glob(f"*/{RECORD_FILE}"):
        record.with_name(PREDICTIONS_FILE).unlink(missing_ok=True)
        record.unlink()
        with contextlib.suppress(OSError):  # somebody's own files may lie there as well
            record.parent.rmdir()


def _by_classes(tests: Sequence[TestSet]) -> dict[tuple[str, ...], list[TestSet]]:
    """The tests that are scored in one pass. With several labels a video, the score of a label does
    not depend on the others: tests of fewer labels are read off those of all."""
    groups: dict[tuple[str, ...], list[TestSet]] = {}
    widest = max((test.classes for test in tests), key=len)
    if tests[0].multi_label and all(set(test.classes) <= set(widest) for test in tests):
        return {tuple(widest): list(tests)}
    for test in tests:
        groups.setdefault(tuple(test.classes), []).append(test)
    return groups


def _narrowed(test: TestSet, scores: Scores, facts: RunFacts) -> tuple[Scores, RunFacts]:
    """The columns of a test's own classes, in its order."""
    if set(test.classes) == set(facts.classes):
        return scores, facts
    columns = [facts.classes.index(name) for name in test.classes]
    prompts = [facts.prompts[column] for column in columns]
    narrow = replace(facts, prompts=prompts, classes=list(test.classes))
    return replace(scores, scores=scores.scores[:, columns]), narrow


def score_tests(
    plan: EvaluationPlan,
    tests: Sequence[TestSet],
    prompts: list[list[str]],
    progress: Progress,
    per_label: PerLabel | None = None,
    *,
    text: Any = None,
    store: EmbeddingStore | None = None,
    shard: Shard | None = None,
    log: RunLog | None = None,
) -> tuple[Scores | None, StoredEmbeddings | None]:
    """Score the union of several test sets over the classes that they share; see `score_videos`.

    text: what the classes were encoded to, computed here where it is not given.
    """
    items: dict[str, ListedVideo] = {}
    for test in tests:
        for video, path in listed_videos(test, plan.request.run.limit):
            items.setdefault(video, ListedVideo(video, path))
    if plan.settings.reading.store is None:
        prepare_videos(plan.dataset.config.name, items, progress=progress)
    adapter = plan.method.adapter
    root = plan.videos_root
    sizes = [_size(root / item.path) if item.path else -1 for item in items.values()]
    what = [plan.document.sha256, prompts, [asdict(i) for i in items.values()], sizes]
    if per_label is not None:
        what.append(repr(per_label))
    key = sha256_json(what)
    listed = list(items.values())
    stored = store.open(plan.dataset.config.name, root, listed) if store is not None else None
    scores = score_videos(
        adapter,
        encode_classes(plan, prompts) if text is None else text,
        root,
        listed,
        plan.settings.reading,
        plan.computing,
        Pass(
            parts=plan.folder / PARTS / key[:16],
            shard=shard or Shard(),
            merge=plan.request.run.merge and shard is not None,
            stop=plan.request.run.on_error == "stop",
            log=log,
        ),
        per_label=per_label,
        stored=stored,
        progress=progress,
        description=f"scoring {', '.join(test.name for test in tests)}",
    )
    return scores, stored


def encode_classes(plan: EvaluationPlan, prompts: list[list[str]]) -> Any:
    """What the adapter's `score` needs of the classes, from stored label embeddings if named."""
    stored = plan.request.text.label_embeddings
    if stored is not None:
        return stored_text(stored, plan.method, prompts, plan.computing)
    return encode_text(plan.method.adapter, prompts, plan.computing)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def listed_videos(test: TestSet, limit: int | None) -> list[tuple[str, str]]:
    """The (id, path) of each listed video once, in order; only the first `limit` of them."""
    firsts = test.rows.drop_duplicates("video")
    pairs = list(zip(firsts["video"], firsts["path"], strict=True))
    return pairs if limit is None else pairs[:limit]


def _finish(plan: EvaluationPlan, test: TestSet, scores: Scores, facts: RunFacts) -> Result:
    """Write the predictions and the record of one test set."""
    wanted = {video for video, _ in listed_videos(test, plan.request.run.limit)}
    chosen = [position for position, video in enumerate(scores.videos) if video in wanted]
    failures = [failure for failure in scores.failures if failure.video in wanted]
    if not chosen:
        raise DataError(
            f"none of the {len(wanted):,} listed videos of {test.name} could be scored",
            found=failures[0].reason if failures else None,
            hint=f"vclip data check {test.dataset}",
        )
    folder = plan.folder / test.name.replace("/", "_")
    labels = labels_of(test)
    videos = [scores.videos[position] for position in chosen]
    digest = write_predictions(
        folder / PREDICTIONS_FILE,
        videos,
        [labels[video] for video in videos],
        scores.scores[chosen],
        facts.classes,
    )
    record = build_record(
        facts,
        test,
        [labels[video] for video in videos],
        scores.scores[chosen],
        failures,
        [
            labels[failure.video]
            for failure in failures
            if plan.request.run.on_error == COUNT_AS_WRONG
        ],
        {video: counts for video, counts in scores.damage.items() if video in wanted},
        PREDICTIONS_FILE,
        digest,
    )
    write_record(record, folder / RECORD_FILE)
    return Result(test, record, folder / RECORD_FILE, reused=False)


def labels_of(test: TestSet) -> dict[str, tuple[str, ...]]:
    """The class names of every listed video, in the order of the rows."""
    labels: dict[str, tuple[str, ...]] = {}
    for video, name in zip(test.rows["video"], test.rows["class"], strict=True):
        labels[video] = labels.get(video, ()) + ((name,) if name else ())
    return labels


def _refuse_another_run(plan: EvaluationPlan) -> None:
    path = plan.folder / RUN_FILE
    if not path.is_file():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != plan.document.sha256:
        raise UsageError(
            "the output folder holds a run with other settings",
            where=str(plan.folder),
            hint="choose another with --out, or replace it with --no-resume",
        )


def _finished(plan: EvaluationPlan, test: TestSet) -> Result | None:
    """The record of an earlier, equal run whose predictions are still what it says."""
    path = plan.folder / test.name.replace("/", "_") / RECORD_FILE
    if not path.is_file():
        return None
    record = read_record(path)
    file = record.predictions
    if file is None or not (path.parent / file.file).is_file():
        return None
    if record.config.get("run_sha256") != plan.document.sha256:
        return None
    if sha256_file(path.parent / file.file) != file.sha256:
        return None
    return Result(test, record, path, reused=True)
