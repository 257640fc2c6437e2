"""Training on stored embeddings, for methods that leave the image side frozen and say `fits`.

The training videos are read as at the test, without augmentation; decoding and encoding happen once
for all such methods, seeds and numbers of shots.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.progress import Progress
from vclip_cli.data.protocol import Recipe, Schedule
from vclip_cli.engine.encoding.devices import autocast
from vclip_cli.engine.encoding.embedding_pass import embedded_batches, pool_batch
from vclip_cli.engine.encoding.embedding_shares import embed_shared, share_of_items
from vclip_cli.engine.encoding.embedding_store import embedding_store
from vclip_cli.engine.encoding.prompts import class_prompts
from vclip_cli.engine.encoding.scoring import Computing
from vclip_cli.engine.loading.datasets import prepare_videos
from vclip_cli.engine.loading.frame_source import require_kept
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.training.resume import ResumeState
from vclip_cli.engine.training.samples import TrainingItem
from vclip_cli.engine.training.updates import seed_of
from vclip_cli.models.fitting import FitOptimizer, Fitting
from vclip_cli.video.sampling import Sampling

if TYPE_CHECKING:
    from vclip_cli.engine.training.plan import TrainingPlan, TrainingRequest
    from vclip_cli.models.contract import Adapter

ALWAYS_HEEDED = ("frames", "config", "text", "preprocessing", "backbone", "views", "sampling")


def check_fitting(
    request: TrainingRequest, method: type[Adapter], recipe: Recipe, changes: Iterable[str]
) -> None:
    """Refuse what would have no effect on a method that is fitted on stored embeddings.

    changes: the dotted keys of the recipe that `--set` changed. Raises UsageError.
    """
    heeded = (*ALWAYS_HEEDED, *method.fit_uses)
    useless = [key for key in changes if not key.startswith(("schedule", *heeded))]
    schedule = recipe.schedule
    if schedule is not None:
        plain = Schedule(epochs=schedule.epochs or 1)
        useless += [
            f"schedule.{name}"
            for name, value in schedule
            if value != getattr(plain, name) or "schedule.epochs" not in heeded
        ]
    named = tuple(f".{setting.partition('=')[0]}" for setting in request.settings)
    for key in sorted(useless, key=lambda key: not f".{key}".endswith(named)):
        raise UsageError(
            f"the setting {key!r} has no effect on {method.name!r}",
            expected="one of " + ", ".join([*method.fit_uses, *ALWAYS_HEEDED]),
        )
    for option, given in (
        ("--select-on", request.select_on),
        ("--stop-after", request.stop_after),
        ("--start-from", request.start_from),
        ("--flip", request.flip or None),
    ):
        if given is not None:
            raise UsageError(
                f"{option} has no effect on {method.name!r}, which is fitted on stored embeddings"
            )


def fit_on_embeddings(
    plan: TrainingPlan, items: Sequence[TrainingItem], progress: Progress
) -> ResumeState:
    """Get the embeddings of the training list and fit the adapter on them.

    Gives the state of a finished run. Raises DataError when fewer than two classes can be read.
    """
    adapter, recipe = plan.method.adapter, plan.recipe
    state = ResumeState(plan.sha256, 0, {}, {})
    embeddings, targets = _embeddings(plan, items, state, progress)
    if len(torch.unique(targets)) < 2:
        raise DataError(
            "training needs readable videos of at least two classes",
            found=f"{len(targets):,} videos of {len(torch.unique(targets))} classes",
            hint=f"vclip data check {plan.request.dataset}",
        )
    spec, schedule = recipe.optimizer, recipe.schedule
    fitting = Fitting(
        seed=seed_of("fit", plan.seed),
        batch_size=recipe.batch_size,
        optimizer=None
        if spec is None
        else FitOptimizer(
            spec.name, spec.learning_rate, spec.weight_decay, spec.betas, spec.epsilon
        ),
        epochs=None if schedule is None else schedule.epochs,
        progress=progress,
    )
    prompts = class_prompts(plan.dataset.label_set, plan.classes, plan.text, plan.templates)
    with autocast(plan.device, plan.request.precision):
        fitted = adapter.fit(embeddings, targets, prompts, fitting)
    state.step, state.losses = len(fitted.losses), fitted.losses
    state.best = dict(fitted.chosen)
    return state


def embed_share(plan: TrainingPlan, items: Sequence[TrainingItem], progress: Progress) -> None:
    """Store this process's share of the embeddings that a launch's first process fits on.

    Nothing is done where nothing may be stored; the first process waits for the others.
    """
    request, share = plan.request, launched_shard()
    if share.count == 1 or not request.cache:
        return
    reading, computing = _reading(plan), _computing(plan)
    adapter, root = plan.method.adapter.to(plan.device), plan.dataset.videos_root
    assert root is not None  # checked by plan_run
    store = embedding_store(adapter, reading, request.precision, plan.device.type, stores_all=True)
    if store is None:
        return
    listed = [ListedVideo(item.video, item.path) for item in items]
    if plan.store is None:
        own = share_of_items(listed, share, computing.batch_size)
        prepare_videos(request.dataset, [item.video for item in own], progress=progress)
    embed_shared(
        *(adapter, root, listed, reading, computing, store, request.dataset, share),
        progress=progress,
    )


def _computing(plan: TrainingPlan) -> Computing:
    request = plan.request
    return Computing(plan.device, request.precision, request.batch_size, request.guard)


def _reading(plan: TrainingPlan) -> VideoReading:
    """As at the test. Raises UsageError for a frame store that lacks the frames."""
    recipe, rule = plan.recipe, plan.recipe.sampling.test
    reading = VideoReading(
        Sampling(
            recipe.frames,
            recipe.views.clips,
            rule,
            recipe.sampling.stride if rule == "dense" else 1,
        ),
        plan.method.adapter.preprocessing,
        crops=recipe.views.crops,
        decoder=plan.request.decoder,
        store=plan.store,
    )
    require_kept(plan.store, reading.sampling)
    return reading


def _embeddings(
    plan: TrainingPlan, items: Sequence[TrainingItem], state: ResumeState, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """L2-normalised video embeddings (N,E), averaged over views, and targets (N,)."""
    request, adapter = plan.request, plan.method.adapter
    computing, reading = _computing(plan), _reading(plan)
    root = plan.dataset.videos_root
    assert root is not None  # checked by plan_run
    listed = [ListedVideo(item.video, item.path) for item in items]
    stored = None
    if request.cache:
        store = embedding_store(adapter, reading, request.precision, plan.device.type)
        stored = store.open(request.dataset, root, listed) if store is not None else None
    rows, targets = [], []
    with progress("embedding", len(listed)) as advance:
        for batch, values in embedded_batches(adapter, root, listed, reading, computing, stored):
            for failure in batch.failures:
                state.failures[failure.video] = [failure.path, failure.reason]
            if values is not None:
                pooled = pool_batch(adapter, values, computing)
                rows.append(pooled.float().unflatten(0, values.shape[:2]).mean(1).cpu().numpy())
                targets += [items[position].target for position in batch.positions]
            advance(len(batch.positions) + len(batch.failures))
    if not rows:
        raise DataError(
            f"none of the {len(items):,} training videos can be read",
            found=next(iter(state.failures.values()))[1] if state.failures else None,
            hint=f"vclip data check {request.dataset}",
        )
    embeddings = normalize(torch.from_numpy(np.concatenate(rows)), dim=-1)
    return embeddings, torch.tensor(targets)
