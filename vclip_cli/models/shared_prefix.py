"""CLIP's text tower over many prompts that begin alike: the common beginning is computed once.

The tower is causal, so tokens after the end of a prompt never reach its embedding, and the hidden
states of a common prefix are the same in every prompt. Prompts are laid side by side behind one
prefix in one sequence, and a mask lets each see the prefix and itself: the same sums in fewer
tokens. Shapes: K prompts, P prefix tokens, S tokens in a packed sequence, D width, E embedding
width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vclip_cli.models.shortcuts import prompt_ends
from vclip_cli.models.towers import TextTower, attention_step, mlp_step, pool_text, whole_block

GROUP = 64
"""Prompts behind one copy of the prefix: attention grows with the square of the sequence."""


def encode_behind_prefix(tower: TextTower, prefix: Tensor, ids: Tensor) -> Tensor:
    """Token embeddings of a prefix (P,D) and the ids (K,N) of whole prompts to (K,E).

    The first P tokens of each prompt are replaced by the prefix. Not normalised.
    """
    return torch.cat([_encode_group(tower, prefix, part) for part in ids.split(GROUP)])


def encode_with_prefixes(tower: TextTower, prefixes: Tensor, ids: Tensor) -> Tensor:
    """As `encode_behind_prefix`, with a prefix of its own (K,P,D) for each prompt (K,N)."""
    ends, start = prompt_ends(tower, ids), prefixes.shape[1]
    length = int(ends.max()) + 1
    own = tower.embed(ids[:, start:length]).to(prefixes.dtype)
    tokens = torch.cat([prefixes, own], dim=1)
    tokens = tokens + tower.owner.positional_embedding[:length].to(tokens.dtype)
    rows = torch.arange(len(ids), device=ids.device)
    mask = tower.owner.attn_mask[:length, :length]
    return _run(tower, tokens, mask, (rows, ends), ids[rows, ends])


def _encode_group(tower: TextTower, prefix: Tensor, ids: Tensor) -> Tensor:
    ends, start = prompt_ends(tower, ids), len(prefix)
    lengths = (ends + 1 - start).tolist()
    own = torch.cat([row[start : start + n] for row, n in zip(ids, lengths, strict=True)])
    positions = torch.cat(
        [torch.arange(start), *(torch.arange(start, start + n) for n in lengths)]
    ).to(ids.device)
    tokens = torch.cat([prefix, tower.embed(own).to(prefix.dtype)])
    tokens = tokens + tower.owner.positional_embedding[positions].to(tokens.dtype)
    last = torch.tensor(lengths, device=ids.device).cumsum(0) + start - 1
    mask = packed_mask(start, lengths).to(tokens)
    rows = torch.arange(len(ids), device=ids.device)
    return _run(tower, tokens[None], mask, (0, last), ids[rows, ends])


def _run(
    tower: TextTower, tokens: Tensor, mask: Tensor, last: tuple[Any, Tensor], ends: Tensor
) -> Tensor:
    """All blocks over sequences (B,S,D); only the prompts' ends go through the last block's MLP.

    last: where they are in the sequences; ends: their token ids (K,).
    """
    *blocks, final = tower.owner.transformer.resblocks
    for block in blocks:
        tokens = whole_block(block, tokens, mask)
    tokens = attention_step(final, tokens, mask)[last][:, None]
    return pool_text(tower, mlp_step(final, tokens), ends[:, None])


def packed_mask(prefix: int, lengths: Sequence[int]) -> Tensor:
    """What is added to attention (S,S): 0 where a token may look, -inf elsewhere."""
    owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    owners = torch.cat([torch.full((prefix,), -1), owners])
    allowed = (owners[None] == owners[:, None]) | (owners[None] == -1)
    allowed &= torch.ones_like(allowed).tril()
    return torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf"))
