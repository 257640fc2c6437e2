"""`vclip train`: from a plan to a checkpoint, resumed where it was left."""

from __future__ import annotations

import time

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import require_writable_folder, write_json, write_text
from vclip_cli.common.locks import folder_lock
from vclip_cli.common.progress import Progress, no_progress
from vclip_cli.data.overlap import check_overlap
from vclip_cli.data.plan import plan_tests
from vclip_cli.data.split import write_split
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.requests import Request
from vclip_cli.engine.runs.run_log import RunLog, open_run_log
from vclip_cli.engine.runs.shards import launched_shard, wait_until
from vclip_cli.engine.specs import ComputeSpec, TrainSpec
from vclip_cli.engine.training.embedded import embed_share, fit_on_embeddings
from vclip_cli.engine.training.loop import build_accelerator, fit, remove_tracked
from vclip_cli.engine.training.outcome import (
    CHECKPOINT_FILE,
    LOSS_FILE,
    RUN_FILE,
    Trained,
    finish,
    finished_run,
    loss_table,
)
from vclip_cli.engine.training.plan import TrainingPlan, training_items
from vclip_cli.engine.training.samples import SampleReading, TrainingData, steps_of
from vclip_cli.engine.training.selection import Selector
from vclip_cli.engine.training.state import STATE_FILE, ResumeState, read_state
from vclip_cli.engine.training.targets import check_multi_label

SPLIT_FILE = "train.csv"


def train(plan: TrainingPlan, *, progress: Progress = no_progress) -> Trained:
    """Train, or go on from an interrupted run, and write the checkpoint.

    Of several processes the first one writes; the others give what it has written. Raises
    ComparisonRefused when training and test videos overlap, UsageError when the folder holds
    another run.
    """
    shard = launched_shard()
    _guard_overlap(plan)
    require_writable_folder(plan.folder)
    if not plan.request.resume and shard.count > 1:
        raise UsageError("--no-resume is for one process: the others might come too late for it")
    if not shard.is_main:
        return _follow(plan, progress)
    with folder_lock(plan.folder, "training in"):
        if not plan.request.resume:
            _remove_run(plan)
        elif (finished := finished_run(plan)) is not None:
            return finished
        with open_run_log(plan.folder, "train", total=_steps(plan)) as log:
            run = {"sha256": plan.sha256, "finished": None, **plan.identity}
            write_json(plan.folder / RUN_FILE, run)
            write_split(plan.split, plan.folder / SPLIT_FILE)
            started = time.perf_counter()
            state = _trained(plan, log, progress)
            write_text(plan.folder / LOSS_FILE, loss_table(state.losses))
            for video, (_, reason) in state.failures.items():
                log.note("warning", text=f"{video!r} cannot be read: {reason}")
            return finish(plan, state, time.perf_counter() - started)


def _follow(plan: TrainingPlan, progress: Progress) -> Trained:
    """Take part in a training that another process of the launch leads."""
    if (finished := finished_run(plan)) is not None:
        return finished
    if plan.method.adapter.fits:
        embed_share(plan, training_items(plan), progress)
    else:
        state = _trained(plan, None, progress)
        if state.step < _steps(plan):
            return Trained(plan.folder / STATE_FILE, state.step, 0.0, {}, {}, False)
    wait_until(lambda: _is_finished(plan))
    found = finished_run(plan)
    assert found is not None
    return found


def _is_finished(plan: TrainingPlan) -> bool:
    return (plan.folder / RUN_FILE).is_file() and finished_run(plan) is not None


def _steps(plan: TrainingPlan) -> int:
    return 0 if plan.method.adapter.fits else steps_of(len(training_items(plan)), plan.recipe)[0]


def _remove_run(plan: TrainingPlan) -> None:
    remove_tracked(plan.folder)
    for name in (STATE_FILE, RUN_FILE, CHECKPOINT_FILE, LOSS_FILE):
        (plan.folder / name).unlink(missing_ok=True)


def _trained(plan: TrainingPlan, log: RunLog | None, progress: Progress) -> ResumeState:
    """The state at the end, or where `stop_after` says so. log: None for a follower."""
    request, adapter = plan.request, plan.method.adapter
    items = training_items(plan)
    if plan.dataset.manifest.multi_label:
        targets = [item.labels for item in items]
        check_multi_label(plan.recipe, targets, fits=adapter.fits)
    if adapter.fits:
        embed_share(plan, items, progress)
    if plan.store is None:
        prepare_videos(request.dataset, [item.video for item in items], progress=progress)
    adapter.to(plan.device)
    if adapter.fits:
        return fit_on_embeddings(plan, items, progress)
    adapter.freeze_all_but_trainable()
    adapter.gradient_checkpointing = request.gradient_checkpointing
    assert plan.dataset.videos_root is not None  # checked by plan_run
    data = TrainingData(
        root=plan.dataset.videos_root,
        items=items,
        reading=SampleReading(
            plan.recipe,
            adapter.preprocessing,
            plan.seed,
            plan.identity["flip"],
            request.decoder,
            plan.store,
        ),
        prompts=class_prompts(plan.label_set, plan.classes, plan.text, plan.templates),
    )
    state = read_state(plan.folder, plan.sha256) or ResumeState(plan.sha256, 0, {}, {})
    selector = Selector.build(plan, progress) if request.select_on else None
    return fit(
        adapter,
        data,
        build_accelerator(plan.device, request.precision, plan.folder),
        Request(
            training=TrainSpec(save_every=request.save_every, stop_after=request.stop_after),
            compute=ComputeSpec(batch_size=request.batch_size, compile=request.compiled),
            workers=request.guard,
        ),
        plan.folder,
        state,
        after_save=None if log is None else lambda now: log.note("saved", done=now.step),
        after_epoch=selector.look if selector is not None else None,
        progress=progress,
    )


def _guard_overlap(plan: TrainingPlan) -> None:
    tests = plan_tests(plan.protocol, plan.dataset)
    check_overlap(
        set(plan.split.rows["video"]),
        {test.name: list(test.rows["video"]) for test in tests},
        allowed=plan.request.allow_overlap,
    )
