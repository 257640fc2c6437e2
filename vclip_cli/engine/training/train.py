"""`vclip train`: from a plan to a checkpoint, resumed where it was left."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import require_writable_folder, write_json, write_text
from vclip_cli.common.locks import folder_lock
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol_lists import protocol_tests
from vclip_cli.data.split import check_overlap
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.runs.run_log import RunLog, open_run_log
from vclip_cli.engine.runs.shards import launched_shard, wait_until
from vclip_cli.engine.training.embedded import embed_share, fit_on_embeddings
from vclip_cli.engine.training.loop import LoopOptions, TrainingData, fit
from vclip_cli.engine.training.multi_label import check_recipe
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
from vclip_cli.engine.training.resume import STATE_FILE, ResumeState, read_state
from vclip_cli.engine.training.samples import SampleReading
from vclip_cli.engine.training.scalars import remove_scalars, tensorboard_scalars
from vclip_cli.engine.training.selection import Selector
from vclip_cli.engine.training.updates import steps_of

if TYPE_CHECKING:
    pass

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
            plan.split.save(plan.folder / SPLIT_FILE)
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
    remove_scalars(plan.folder)
    for name in (STATE_FILE, RUN_FILE, CHECKPOINT_FILE, LOSS_FILE):
        (plan.folder / name).unlink(missing_ok=True)


def _trained(plan: TrainingPlan, log: RunLog | None, progress: Progress) -> ResumeState:
    """The state at the end, or where `stop_after` says so. log: None for a follower."""
    request, adapter = plan.request, plan.method.adapter
    items = training_items(plan)
    if plan.dataset.manifest.multi_label:
        targets = [item.target for item in items]
        check_recipe(plan.recipe, targets, fits=adapter.fits)
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
    options = LoopOptions(
        plan.folder,
        request.batch_size,
        request.guard,
        request.save_every,
        request.stop_after,
        request.compiled,
    )
    with contextlib.ExitStack() as held:
        scalars = None
        if log is not None:
            scalars = held.enter_context(tensorboard_scalars(plan.folder, state))
        return fit(
            adapter,
            data,
            plan.recipe,
            _accelerator(plan),
            options,
            state,
            after_step=scalars,
            after_save=None if log is None else lambda now: log.note("saved", done=now.step),
            after_epoch=selector.look if selector is not None else None,
            progress=progress,
        )


def _accelerator(plan: TrainingPlan) -> Any:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    mixed = "no" if plan.request.precision == "fp32" else plan.request.precision
    if plan.device.type == "cuda" and plan.device.index is not None:
        torch.cuda.set_device(plan.device)
    # The library keeps one state a process; a second run in it may want another precision.
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=mixed, cpu=plan.device.type == "cpu")


def _guard_overlap(plan: TrainingPlan) -> None:
    tests = protocol_tests(plan.protocol, plan.dataset)
    check_overlap(
        set(plan.split.rows["video"]),
        {test.name: list(test.rows["video"]) for test in tests},
        allowed=plan.request.allow_overlap,
    )
