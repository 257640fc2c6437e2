"""The attention weights that a model computes on a video, read from its own modules.

Shapes: T frames, N tokens of a frame.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor, nn

from vclip_cli.common.errors import UsageError
from vclip_cli.models.contract import Adapter
from vclip_cli.models.towers import image_tower
from vclip_cli.report.material import Missing, TemporalAttention, VideoAttention

_TOWER = "the image tower's last block"


class Watched:
    """The weights (rows, queries, keys), averaged over heads, of the last call of each module."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}


@contextlib.contextmanager
def watch_attention(adapter: Adapter) -> Iterator[Watched]:
    """Within the context, keep the weights of the last block's attention and of the method's own.

    The model's calls stay the same, but for asking each module to return its weights.
    """
    watched = Watched()
    modules = {
        name: module
        for name, module in adapter.named_modules()
        if isinstance(module, nn.MultiheadAttention) and not name.startswith("clip.")
    }
    if isinstance(block := _last_attention(adapter), nn.MultiheadAttention):
        modules[_TOWER] = block
    handles = []
    for name, module in modules.items():

        def keep(_: nn.Module, __: object, output: tuple[Tensor, Tensor], name: str = name) -> None:
            watched.weights[name] = output[1].detach().float().cpu()

        handles.append(module.register_forward_pre_hook(_ask_for_weights, with_kwargs=True))
        handles.append(module.register_forward_hook(keep))
    try:
        yield watched
    finally:
        for handle in handles:
            handle.remove()


def _ask_for_weights(
    _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return inputs, {**named, "need_weights": True, "average_attn_weights": True}


def _last_attention(adapter: Adapter) -> nn.Module | Missing:
    try:
        tower = image_tower(adapter.backbone, "attention over patches")
    except UsageError as error:
        return Missing(
            f"The backbone {adapter.backbone.name} has {error.found}: there is no attention of a "
            "CLS token over patches to show."
        )
    return tower.blocks[-1].attn


def attention_of_first(adapter: Adapter, watched: Watched, frames: int) -> VideoAttention | Missing:
    """The attention of the first video of the last forward pass; all had T frames."""
    if isinstance(lacking := _last_attention(adapter), Missing):
        return lacking
    weights = watched.weights.get(_TOWER)
    visual: Any = adapter.clip.visual
    rows, columns = visual.grid_size
    first = 1 + adapter.tokens_before_patches(frames)
    last = first + rows * columns
    if weights is None or len(weights) % frames or weights.shape[-1] < last:
        return Missing(
            f"The last block of {adapter.name} does not attend frame by frame, so its "
            "attention cannot be laid over the frames."
        )
    of_cls = weights[:frames, 0].numpy()
    patches = of_cls[:, first:last]
    cls = of_cls[:, 0]
    return VideoAttention(
        patches=patches.reshape(frames, rows, columns),
        cls=cls,
        own=np.clip(1 - cls - patches.sum(axis=1), 0, 1),
        temporal=_between_frames(watched, frames),
    )


def _between_frames(watched: Watched, frames: int) -> tuple[TemporalAttention, ...]:
    """The last called module of each kind that attends over T frames."""
    found: dict[str, TemporalAttention] = {}
    for name, weights in watched.weights.items():
        if name != _TOWER and frames > 1 and weights.shape[-2:] == (frames, frames):
            kind = re.sub(r"\.\d+\.", ".", name)
            found.pop(kind, None)
            found[kind] = TemporalAttention(name, weights[0].numpy())
    return tuple(found.values())
