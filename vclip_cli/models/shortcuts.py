"""What of CLIP's towers need not be computed, and the order that costs least; the sums stay.

Only the CLS token of the last image block is looked at, and only the end-of-text token of a prompt.
The text tower is causal: no token sees the padding behind it. Shapes: B images or videos, T frames,
K prompts, N tokens, D tower width, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vclip_cli.common.errors import UsageError
from vclip_cli.models.attention import attend
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.tensors import to_device
from vclip_cli.models.towers import (
    TextTower,
    attention_step,
    image_tower,
    mlp_step,
    patch_tokens,
    pool_text,
    project_cls,
    text_tower,
    whole_block,
)

if TYPE_CHECKING:
    from vclip_cli.models.contract import Adapter


def encode_images(backbone: Backbone, images: Tensor) -> Tensor:
    """Images (B,C,H,W) to embeddings (B,E), not normalised, by any backbone."""
    try:
        visual = image_tower(backbone, "")
    except UsageError:
        return backbone.clip.encode_image(images)
    if is_watched(visual):
        return backbone.clip.encode_image(images)
    tokens = visual.ln_pre(patch_tokens(visual, images))
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        tokens = _run(visual.transformer, whole_block, block, tokens, None)
    return project_cls(visual, _run(visual.transformer, cls_step, last, tokens))


def encode_ids(backbone: Backbone, ids: Tensor) -> Tensor:
    """Token ids (K,N), from the CPU, to text embeddings (K,E), not normalised, by any backbone."""
    device = next(backbone.clip.parameters()).device
    try:
        tower = text_tower(backbone, "")
    except UsageError:
        return backbone.clip.encode_text(to_device(ids, device))
    if is_watched(tower.owner):
        return backbone.clip.encode_text(to_device(ids, device))
    ids = to_device(without_padding(tower, ids), device)
    transformer, mask = tower.owner.transformer, causal_mask(tower, ids)
    tokens = tower.embed(ids)
    tokens = tokens + tower.owner.positional_embedding[: ids.shape[1]].to(tokens.dtype)
    *blocks, last = transformer.resblocks
    for block in blocks:
        tokens = _run(transformer, whole_block, block, tokens, mask)
    return _run(transformer, end_step, tower, last, tokens, ids)


def _run(transformer: nn.Module, function: Callable[..., Tensor], *inputs: Any) -> Tensor:
    if transformer.grad_checkpointing and torch.is_grad_enabled():
        return checkpoint(function, *inputs, use_reentrant=False)
    return function(*inputs)


def is_watched(module: nn.Module) -> bool:
    """Whether hooks in a module are to see everything that passes, as it always passes."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def cls_step(block: nn.Module, tokens: Tensor, beside: Tensor | None = None) -> Tensor:
    """A whole block, for its CLS token alone: tokens (B,N,D) to (B,1,D).

    beside: (B,1,D), what is added to the attention's outcome.
    """
    normalised = block.ln_1(tokens)
    attended = tokens[:, :1] + block.ls_1(attend(block.attn, normalised[:, :1], normalised))
    return mlp_step(block, attended if beside is None else attended + beside)


def prompt_ends(tower: TextTower, ids: Tensor) -> Tensor:
    """The position (K,) of the token whose embedding stands for each prompt of ids (K,N)."""
    if tower.pool_type == "argmax":
        return ids.argmax(dim=1)
    if tower.pool_type == "eos":
        return (ids == tower.eos_id).int().argmax(dim=1)
    return torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)


def without_padding(tower: TextTower, ids: Tensor) -> Tensor:
    """Token ids (K,N) up to the end of the longest prompt: (K,n).

    Asked of ids on the CPU: on a GPU, the answer would have to be waited for.
    """
    return ids[:, : int(prompt_ends(tower, ids).max()) + 1]


def causal_mask(tower: TextTower, ids: Tensor) -> Tensor:
    """The tower's mask (N,N) for ids (K,N)."""
    return tower.owner.attn_mask[: ids.shape[1], : ids.shape[1]]


def end_step(tower: TextTower, block: nn.Module, tokens: Tensor, ids: Tensor) -> Tensor:
    """The last block, its MLP for each prompt's end alone: tokens (K,N,D) to embeddings (K,E)."""
    rows, ends = torch.arange(len(ids), device=ids.device), prompt_ends(tower, ids)
    attended = attention_step(block, tokens, causal_mask(tower, ids))[rows, ends]
    return pool_text(tower, mlp_step(block, attended[:, None]), ids[rows, ends][:, None])


def one_by_one(adapter: Adapter, encode: Callable[[Tensor], Tensor], videos: Tensor) -> Tensor:
    """`encode` on each of the videos (B,T,…) alone where that is faster, joined along B.

    On a CPU the activations of one video stay in the cache, and in memory that is there already; a
    GPU wants the batch, and so does the backward pass.
    """
    if torch.is_grad_enabled() or videos.device.type != "cpu" or len(videos) == 1:
        return encode(videos)
    if adapter.observe is not None or is_watched(adapter):
        return encode(videos)
    return torch.cat([encode(video) for video in videos.split(1)])
