"""`vclip train`: from a plan to a checkpoint, resumed where it was left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import torch

from vclip_cli.data.overlap import check_overlap
from vclip_cli.data.plan import plan_tests
from vclip_cli.data.split import write_split
from vclip_cli.engine.datasets import prepare_videos
from vclip_cli.engine.prompting import class_prompts
from vclip_cli.engine.training.embedded import fit_on_embeddings
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
from vclip_cli.files import require_writable_folder, write_json, write_text
from vclip_cli.progress import Progress, no_progress

if TYPE_CHECKING:
    pass

SPLIT_FILE = "train.csv"


def train(plan: TrainingPlan, *, progress: Progress = no_progress) -> Trained:
    """Train, or go on from an interrupted run, and write the checkpoint.

    Raises ComparisonRefused when training and test videos overlap, UsageError when the folder holds
    another run.
    """
    request, adapter = plan.request, plan.method.adapter
    _guard_overlap(plan)
    require_writable_folder(plan.folder)
    if not request.resume:
        (plan.folder / STATE_FILE).unlink(missing_ok=True)
        remove_scalars(plan.folder)
        for name in (RUN_FILE, CHECKPOINT_FILE, LOSS_FILE):
            (plan.folder / name).unlink(missing_ok=True)
    elif (finished := finished_run(plan)) is not None:
        return finished
    write_json(plan.folder / RUN_FILE, {"sha256": plan.sha256, "finished": None, **plan.identity})
    write_split(plan.split, plan.folder / SPLIT_FILE)
    items = training_items(plan)
    if plan.dataset.manifest.multi_label:
        check_recipe(plan.recipe, [item.target for item in items])
    if plan.store is None:
        prepare_videos(request.dataset, [item.video for item in items], progress=progress)
    adapter.to(plan.device)
    if adapter.fits:
        started = time.perf_counter()
        state = fit_on_embeddings(plan, items, progress)
        write_text(plan.folder / LOSS_FILE, loss_table(state.losses))
        return finish(plan, state, time.perf_counter() - started)
    adapter.freeze_all_but_trainable()
    adapter.gradient_checkpointing = request.gradient_checkpointing
    label_set = plan.label_set
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
        prompts=class_prompts(label_set, plan.classes, plan.text, plan.templates),
    )
    state = read_state(plan.folder, plan.sha256) or ResumeState(plan.sha256, 0, {}, {})
    selector = Selector.build(plan, progress) if request.select_on else None
    started = time.perf_counter()
    with tensorboard_scalars(plan.folder, state) as after_step:
        state = fit(
            adapter,
            data,
            plan.recipe,
            _accelerator(plan),
            LoopOptions(
                plan.folder,
                request.batch_size,
                request.workers,
                request.save_every,
                request.stop_after,
                request.timeout,
            ),
            state,
            after_step=after_step,
            after_epoch=selector.look if selector is not None else None,
            progress=progress,
        )
    write_text(plan.folder / LOSS_FILE, loss_table(state.losses))
    return finish(plan, state, time.perf_counter() - started)


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
    tests = plan_tests(plan.protocol, plan.dataset)
    check_overlap(
        set(plan.split.rows["video"]),
        {test.name: list(test.rows["video"]) for test in tests},
        allowed=plan.request.allow_overlap,
    )
