"""Layers that compute what torch's and open_clip's modules compute, in less time or memory."""

from __future__ import annotations

from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention, silu

HEAD_WIDTH = 64
_GELU_FACTOR = 1.702


def attend(
    attention: nn.MultiheadAttention,
    queries: Tensor,
    context: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Queries (B,N,D) attending over context (B,M,D), by default themselves: (B,N,D).

    mask: (N,M), added to the logits. Batches come first whatever the module's `batch_first` says.

    `nn.MultiheadAttention` transposes its inputs to (N,B,D) before it projects them. Under mixed
    precision on a CPU, torch then copies the projection's weights once for each row of the batch,
    and bf16 becomes several times slower than fp32. One fused call with the module's own parameters
    gives the same sums and avoids the copies.
    """
    if not _fused_call_is_equal(attention):
        return _call_module(attention, queries, queries if context is None else context, mask)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if context is None:
        query, key, value = linear(queries, weight, bias).chunk(3, dim=-1)
    else:
        width = attention.embed_dim
        query_bias, context_bias = (None, None) if bias is None else (bias[:width], bias[width:])
        query = linear(queries, weight[:width], query_bias)
        key, value = linear(context, weight[width:], context_bias).chunk(2, dim=-1)
    mixed = attend_by_heads(query, key, value, attention.num_heads, mask)
    return attention.out_proj(mixed)


def attend_by_heads(
    query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor | None = None
) -> Tensor:
    """Projected queries (B,N,D), keys and values (B,M,D), cut into heads: (B,N,D)."""
    query, key, value = (
        part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key, value)
    )
    mask = None if mask is None else mask.to(query.dtype)
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2)


def _fused_call_is_equal(attention: nn.Module) -> bool:
    """Whether the fused call computes what the module does, and no hook expects the module."""
    return (
        isinstance(attention, nn.MultiheadAttention)
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not (attention.training and attention.dropout)
        and not attention._forward_hooks
        and not attention._forward_pre_hooks
    )


def _call_module(
    attention: nn.MultiheadAttention, queries: Tensor, context: Tensor, mask: Tensor | None
) -> Tensor:
    batch_first = attention.batch_first
    if not batch_first:
        queries, context = queries.transpose(0, 1), context.transpose(0, 1)
    mask = None if mask is None else mask.to(queries.dtype)
    attended = attention(queries, context, context, need_weights=False, attn_mask=mask)[0]
    return attended if batch_first else attended.transpose(0, 1)


def heads_for(width: int) -> int:
    """The number of heads of 64 channels, or of the next wider ones that divide the width."""
    return next(n for n in range(max(1, width // HEAD_WIDTH), 0, -1) if width % n == 0)


class LeanQuickGELU(QuickGELU):
    """x·sigmoid(1.702x) computed as silu(1.702x)/1.702, in place of its input.

    The backward pass keeps one tensor instead of two, and memory is written three times less.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to the same shape; x itself is overwritten."""
        return silu(x.mul_(_GELU_FACTOR)).mul_(1 / _GELU_FACTOR)


def use_lean_activations(clip: nn.Module) -> None:
    """Replace the QuickGELU of every MLP by `LeanQuickGELU`; nothing else reads its input."""
    for module in clip.modules():
        if isinstance(module, nn.Sequential):
            for name, child in module.named_children():
                if type(child) is QuickGELU:
                    setattr(module, name, LeanQuickGELU())
