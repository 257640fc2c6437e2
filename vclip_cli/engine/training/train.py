"""`vclip train`: from a plan to a checkpoint, resumed where it was interrupted.

A recipe may have two stages: another method is trained first, and this one starts from its weights.
ViFi-CLIP's "bridge and prompt" is the model (Rasheed et al., CVPR 2023): the towers are first
tuned on videos, and prompts are then learned over the tuned towers.
"""

from __future__ import annotations

import logging
import time

import pandas as pd

from vclip_cli.common.errors import UsageError
from vclip_cli.common.files import folder_lock, require_writable_folder, write_json, write_text
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.protocol_lists import protocol_tests
from vclip_cli.data.split import check_overlap
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.requests import RUN_FILE, Request
from vclip_cli.engine.runs.run_log import RunLog, open_run_log
from vclip_cli.engine.runs.shards import launched_shard, wait_until
from vclip_cli.engine.training.embedded import embed_shard, fit_on_embeddings
from vclip_cli.engine.training.loop import fit, remove_tracked
from vclip_cli.engine.training.outcome import (
    CHECKPOINT_FILE,
    LOSS_FILE,
    STATE_FILE,
    ResumeState,
    TrainingRun,
    finish,
    finished_run,
    read_state,
)
from vclip_cli.engine.training.plan import TrainingPlan, choose_recipe, headline, plan_run
from vclip_cli.engine.training.selection import Selector
from vclip_cli.engine.training.targets import check_multi_label

SPLIT_FILE = "train.csv"

logger = logging.getLogger("vclip")


def train_plan(plan: TrainingPlan, *, progress: Progress = no_progress) -> TrainingRun:
    """Train, or go on from an interrupted run, and write the checkpoint.

    Of several processes rank 0 writes; the others return what it has written. Raises
    ComparisonRefused when training and test videos overlap, UsageError when the folder holds
    another run.
    """
    shard = launched_shard()
    tests = protocol_tests(plan.protocol, plan.dataset)
    check_overlap(
        set(plan.split.rows["video"]),
        {test.name: test.rows["video"] for test in tests},
        allowed=plan.request.data.allow_overlap,
    )
    require_writable_folder(plan.folder)
    if not plan.request.run.resume and shard.count > 1:
        raise UsageError("--no-resume is for one process: others could delete what it has written")
    if not shard.is_main:
        return _follow(plan, progress)
    with folder_lock(plan.folder, "training in"):
        if not plan.request.run.resume:
            remove_tracked(plan.folder)
            for name in (STATE_FILE, RUN_FILE, CHECKPOINT_FILE, LOSS_FILE):
                (plan.folder / name).unlink(missing_ok=True)
        elif (finished := finished_run(plan)) is not None:
            return finished
        logger.info(headline(plan))
        with open_run_log(plan.folder, "train", total=plan.steps or 0) as log:
            write_json(plan.folder / RUN_FILE, {**plan.document.as_dict(), "finished": None})
            plan.split.save(plan.folder / SPLIT_FILE)
            started = time.perf_counter()
            state = _trained(plan, log, progress)
            losses = pd.DataFrame(state.losses, columns=["step", "loss", "learning_rate"])
            table = losses.astype({"step": int}).to_csv(index=False, lineterminator="\n")
            write_text(plan.folder / LOSS_FILE, table)
            for video, (_, reason) in state.failures.items():
                log.note("warning", text=f"{video!r} cannot be read: {reason}")
            return finish(plan, state, time.perf_counter() - started)


def _follow(plan: TrainingPlan, progress: Progress) -> TrainingRun:
    """Take part in a training that rank 0 of the launch leads; gives what rank 0 has written."""
    if (finished := finished_run(plan)) is not None:
        return finished
    if plan.method.adapter.fits:
        embed_shard(plan, progress)
    else:
        state = _trained(plan, None, progress)
        if state.step < (plan.steps or 0):
            return TrainingRun(plan, plan.folder / STATE_FILE, state.step, 0.0)
    wait_until(lambda: finished_run(plan) is not None)
    found = finished_run(plan)
    assert found is not None
    return found


def _trained(plan: TrainingPlan, log: RunLog | None, progress: Progress) -> ResumeState:
    """The state at the end, or where `stop_after` says so. log: None for a follower."""
    data, adapter = plan.data, plan.method.adapter
    if data.multi_label:
        targets = [item.labels for item in data.items]
        check_multi_label(plan.recipe, targets, fits=adapter.fits)
    if adapter.fits:
        embed_shard(plan, progress)
    if data.reading.store is None:
        videos = [item.video for item in data.items]
        prepare_videos(plan.dataset.config.name, videos, progress=progress)
    adapter.to(plan.encoder.device)
    if adapter.fits:
        return fit_on_embeddings(plan, progress)
    sha256 = plan.document.sha256
    state = read_state(plan.folder, sha256) or ResumeState(sha256, 0, {}, {})
    selector = Selector.build(plan, progress) if plan.request.training.select_on else None
    return fit(plan, state, selector, log, progress)


def bridge_of(request: Request) -> str | None:
    """The method that is trained first; None without one, or with a checkpoint to begin with."""
    if request.training.start_from is not None or request.data.protocol is None:
        return None
    return choose_recipe(request, load_protocol(request.data.protocol))[2].bridge


def with_bridge(request: Request, *, progress: Progress = no_progress) -> Request:
    """The request with the checkpoint of its first stage to start from, trained where needed.

    The first stage has its own recipe, the same videos, seed and options, and the folder `bridge`
    in the run's own, or one named after its settings. It is resumed and reused as any training.
    """
    method = bridge_of(request)
    if method is None:
        return request
    out = request.run.out
    first = request.change(
        model={"method": method},
        training={"recipe": None, "set": (), "select_on": None, "stop_after": None},
        run={"out": out / "bridge" if out is not None else None},
    )
    logger.info("first stage: %s, from whose weights %s starts", method, request.model.method)
    checkpoint = train_plan(plan_run(first), progress=progress).checkpoint
    return request.change(training={"start_from": checkpoint})


def train_request(request: Request, *, progress: Progress = no_progress) -> TrainingRun:
    """Train what was asked for, and before it the first stage of a recipe in two stages."""
    return train_plan(plan_run(with_bridge(request, progress=progress)), progress=progress)
