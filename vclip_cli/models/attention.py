"""Attention by torch's own modules, computed with one fused call.

`nn.MultiheadAttention` turns its inputs around (B,N,D → N,B,D) before it projects them. Under mixed
precision on a CPU torch then copies the projection's weights once for every row of the batch, which
makes bf16 several times slower than fp32; without it, bf16 is twice as fast where the processor has
the instructions. The parameters, and the sums, are the module's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention


def attend(
    attention: nn.MultiheadAttention,
    queries: Tensor,
    context: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Queries (B,N,D) attending over context (B,M,D), by default themselves: (B,N,D).

    mask: (N,M), added to the logits. Batches come first whatever the module's `batch_first` says.
    """
    if not _is_plain(attention):
        return _by_the_module(attention, queries, queries if context is None else context, mask)
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if context is None:
        query, key, value = linear(queries, weight, bias).chunk(3, dim=-1)
    else:
        width = attention.embed_dim
        of_query, of_both = (None, None) if bias is None else (bias[:width], bias[width:])
        query = linear(queries, weight[:width], of_query)
        key, value = linear(context, weight[width:], of_both).chunk(2, dim=-1)
    heads = (
        part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part in (query, key, value)
    )
    mask = None if mask is None else mask.to(query.dtype)
    mixed = scaled_dot_product_attention(*heads, attn_mask=mask)
    return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def _is_plain(attention: nn.Module) -> bool:
    """Whether the fused call gives what the module gives, and nobody watches the module."""
    return (
        isinstance(attention, nn.MultiheadAttention)
        and attention.in_proj_weight is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
        and not (attention.training and attention.dropout)
        and not attention._forward_hooks
        and not attention._forward_pre_hooks
    )


def _by_the_module(
    attention: nn.Module, queries: Tensor, context: Tensor, mask: Tensor | None
) -> Tensor:
    first = attention.batch_first
    if not first:
        queries, context = queries.transpose(0, 1), context.transpose(0, 1)
    mask = None if mask is None else mask.to(queries.dtype)
    attended = attention(queries, context, context, need_weights=False, attn_mask=mask)[0]
    return attended if first else attended.transpose(0, 1)
