"""Training on stored embeddings, for methods that keep the image encoder frozen (`fits`).

Training videos are read as at test, without augmentation. They are decoded and encoded once for all
such methods, seeds and numbers of shots.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import normalize

from vclip_cli.common.errors import DataError
from vclip_cli.common.long_work import Progress
from vclip_cli.engine.encoding.embedding_store import embedding_store
from vclip_cli.engine.encoding.encoder import autocast
from vclip_cli.engine.encoding.passes import embed_videos, encoded_batches
from vclip_cli.engine.encoding.settings import recipe_views
from vclip_cli.engine.loading.datasets import require_kept
from vclip_cli.engine.loading.videos import ListedVideo, VideoSet
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.runs.shards import launched_shard
from vclip_cli.engine.specs import InputSpec
from vclip_cli.engine.training.outcome import ResumeState
from vclip_cli.engine.training.plan import TrainingPlan
from vclip_cli.engine.training.samples import seed_of
from vclip_cli.models.fitting import FitOptimizer, Fitting


def fit_on_embeddings(plan: TrainingPlan, progress: Progress) -> ResumeState:
    """Get the embeddings of the training list and fit the adapter on them.

    Gives the state of a finished run. Raises DataError when fewer than two classes can be read.
    """
    recipe, encoder = plan.recipe, plan.encoder
    state = ResumeState(plan.document.sha256, 0, {}, {})
    embeddings, targets = _embeddings(plan, state, progress)
    classes = len(torch.unique(targets))
    if classes < 2:
        raise DataError(
            "training needs readable videos of at least two classes",
            found=f"{len(targets):,} videos of {classes} classes",
            hint=f"vclip data check {plan.dataset.config.name}",
        )
    optimizer = None
    if (spec := recipe.optimizer) is not None:
        optimizer = FitOptimizer(
            spec.name, spec.learning_rate, spec.weight_decay, spec.betas, spec.epsilon
        )
    fitting = Fitting(
        seed=seed_of("fit", plan.seed),
        batch_size=recipe.batch_size,
        optimizer=optimizer,
        epochs=None if recipe.schedule is None else recipe.schedule.epochs,
        progress=progress,
    )
    with autocast(encoder.device, encoder.compute.precision):
        fitted = encoder.adapter.fit(embeddings, targets, plan.data.prompts, fitting)
    state.step, state.losses = len(fitted.losses), fitted.losses
    state.best = dict(fitted.chosen)
    return state


def embed_shard(plan: TrainingPlan, progress: Progress) -> None:
    """Store this process's shard of the embeddings that rank 0 of a launch fits on.

    Rank 0 waits for the others. Does nothing if embeddings may not be stored.
    """
    shard = launched_shard()
    if shard.count == 1 or not plan.request.run.cache:
        return
    encoder, videos = plan.encoder, _training_videos(plan)
    encoder.adapter.to(encoder.device)
    store = embedding_store(encoder, videos.reading, stores_all=True)
    if store is None:
        return
    embed_videos(encoder, videos, store, shard, progress=progress)


def _training_videos(plan: TrainingPlan) -> VideoSet:
    """The training videos, read as at test. Raises UsageError if the frame store lacks the
    frames."""
    listed = [ListedVideo(item.video, item.path) for item in plan.data.items]
    asked = InputSpec(decoder=plan.data.reading.decoder)
    videos = plan.video_set(listed, asked, recipe_views(plan.recipe))
    require_kept(videos.reading.store, videos.reading.sampling)
    return videos


def _embeddings(
    plan: TrainingPlan, state: ResumeState, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """L2-normalised video embeddings (N,E), averaged over views, and targets (N,)."""
    encoder, videos, items = plan.encoder, _training_videos(plan), plan.data.items
    store = embedding_store(encoder, videos.reading) if plan.request.run.cache else None
    stored = store.open(videos) if store is not None else None
    division = Division(len(videos), encoder.compute.batch_size)
    rows, targets = [], []
    with progress("embedding", len(videos)) as advance:
        for batch in encoded_batches(encoder, videos, division, stored=stored, pooled=True):
            state.note_failures(batch.failures)
            if batch.encoded is not None:
                views = batch.encoded.float().unflatten(0, (-1, videos.reading.views))
                rows.append(views.mean(1).cpu().numpy())
                targets += [items[position].target for position in batch.positions]
            advance(len(batch.positions) + len(batch.failures))
    if not rows:
        raise DataError(
            f"none of the {len(items):,} training videos can be read",
            found=state.first_reason,
            hint=f"vclip data check {plan.dataset.config.name}",
        )
    embeddings = normalize(torch.from_numpy(np.concatenate(rows)), dim=-1)
    return embeddings, torch.tensor(targets)
