"""Recipes in two stages: another method is trained first, and the one asked for begins with it.

ViFi-CLIP's "bridge and prompt" is the model (Rasheed et al., CVPR 2023): the towers are first
tuned on videos, and prompts are then learned over the tuned towers.
"""

from __future__ import annotations

from dataclasses import replace

from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.protocol import load_protocol
from vclip_cli.engine.encoding.model import MethodRequest
from vclip_cli.engine.training.plan import TrainingRequest, plan_run, recipe_of
from vclip_cli.engine.training.train import train


def bridge_of(request: TrainingRequest) -> str | None:
    """The method that is trained first; None without one, or with a checkpoint to begin with."""
    if request.start_from is not None:
        return None
    return recipe_of(request, load_protocol(request.protocol)).bridge


def with_bridge(request: TrainingRequest, *, progress: Progress = no_progress) -> TrainingRequest:
    """The request with the checkpoint of its first stage to start from, trained where needed.

    The first stage has its own recipe, the same videos, seed and options, and the folder `bridge`
    in the run's own, or one named after its settings. It is resumed and reused as any training.
    """
    method = bridge_of(request)
    if method is None:
        return request
    first = replace(
        request,
        method=MethodRequest(method, request.method.backbone, request.method.pretrained),
        recipe=None,
        settings=(),
        select_on=None,
        stop_after=None,
        out=request.out / "bridge" if request.out is not None else None,
    )
    return replace(request, start_from=train(plan_run(first), progress=progress).checkpoint)
