"""Attention of the real model on a real clip: its own modules are asked for their weights.

B videos, T frames, N tokens of a frame.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import numpy as np
from torch import Tensor, nn

from vclip_cli.common.errors import UsageError
from vclip_cli.models.contract import Adapter
from vclip_cli.models.towers import image_tower
from vclip_cli.report.material import ClipAttention, Missing, TemporalAttention

_TOWER = "the image tower's last block"


class Watched:
    """The weights (rows, queries, keys), averaged over heads, of the last call of each module."""

    def __init__(self) -> None:
        self.weights: dict[str, Tensor] = {}


@contextlib.contextmanager
def watch_attention(adapter: Adapter) -> Iterator[Watched]:
    """Within the context, the last block's attention and the method's own give their weights.

    The call itself stays the model's own: it is only asked for the weights that it computes.
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


def _ask_for_weights(_: nn.Module, inputs: tuple, named: dict) -> tuple[tuple, dict]:
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


def attention_of_first(adapter: Adapter, watched: Watched, frames: int) -> ClipAttention | Missing:
    """The first video's attention, after a forward pass over videos of T frames each."""
    if isinstance(lacking := _last_attention(adapter), Missing):
        return lacking
    weights = watched.weights.get(_TOWER)
    visual = adapter.clip.visual
    rows, columns = visual.grid_size
    first = 1 + adapter.tokens_before_patches(frames)
    last = first + rows * columns
    if weights is None or len(weights) % frames or weights.shape[-1] < last:
        return Missing(
            f"The last block of {adapter.name} does not look at a clip frame by frame, so its "
            "attention cannot be laid over the frames."
        )
    of_cls = weights[:frames, 0].numpy()
    patches = of_cls[:, first:last]
    cls = of_cls[:, 0]
    return ClipAttention(
        patches=patches.reshape(frames, rows, columns),
        cls=cls,
        own=np.clip(1 - cls - patches.sum(axis=1), 0, 1),
        temporal=_between_frames(watched, frames),
    )


def _between_frames(watched: Watched, frames: int) -> tuple[TemporalAttention, ...]:
    """Of each kind of module that attends over T frames, the last one that was called."""
    found: dict[str, TemporalAttention] = {}
    for name, weights in watched.weights.items():
        if name != _TOWER and frames > 1 and weights.shape[-2:] == (frames, frames):
            kind = re.sub(r"\.\d+\.", ".", name)
            found.pop(kind, None)
            found[kind] = TemporalAttention(name, weights[0].numpy())
    return tuple(found.values())
