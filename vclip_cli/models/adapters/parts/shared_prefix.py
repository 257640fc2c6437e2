"""CLIP's text tower over many prompts with a common prefix, which is computed once.

The tower is causal: a prompt's last token does not depend on what follows, and the hidden states of
a common prefix are the same in every prompt. So many prompts are packed into one sequence behind
one copy of the prefix, and a mask lets each prompt attend to the prefix and itself. The sums are
the same, over fewer tokens. Shapes: K prompts, P prefix tokens, S tokens in a packed sequence,
D width, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vclip_cli.models.towers import BlockRunner, TextTower, prompt_ends

GROUP = 64
"""Prompts behind one copy of the prefix; the cost of attention grows with the square of S."""


def encode_with_prefix(tower: TextTower, prefix: Tensor, ids: Tensor) -> Tensor:
    """Token embeddings of a prefix (P,D) and the ids (K,N) of whole prompts to (K,E).

    The prefix replaces the first P tokens of each prompt. Not normalised.
    """
    return torch.cat([_encode_group(tower, prefix, part) for part in ids.split(GROUP)])


def encode_with_prefixes(tower: TextTower, prefixes: Tensor, ids: Tensor) -> Tensor:
    """As `encode_with_prefix`, but each prompt (K,N) has a prefix of its own (K,P,D)."""
    ends, start = prompt_ends(tower, ids), prefixes.shape[1]
    length = int(ends.max()) + 1
    own = tower.embed(ids[:, start:length]).to(prefixes.dtype)
    tokens = torch.cat([prefixes, own], dim=1)
    return tower.encode(tokens, ids[:, :length], BlockRunner())


def _encode_group(tower: TextTower, prefix: Tensor, ids: Tensor) -> Tensor:
    ends, start = prompt_ends(tower, ids), len(prefix)
    lengths = (ends + 1 - start).tolist()
    own = torch.cat([row[start : start + n] for row, n in zip(ids, lengths, strict=True)])
    positions = torch.cat(
        [torch.arange(start), *(torch.arange(start, start + n) for n in lengths)]
    ).to(ids.device)
    tokens = torch.cat([prefix, tower.embed(own).to(prefix.dtype)])
    tokens = tokens + tower.positions(positions, tokens)
    last = torch.tensor(lengths, device=ids.device).cumsum(0) + start - 1
    mask = packed_mask(start, lengths).to(tokens)
    end_ids = ids[torch.arange(len(ids), device=ids.device), ends]
    return tower.encode_ends(tokens[None], mask, (0, last), end_ids, BlockRunner())


def packed_mask(prefix: int, lengths: Sequence[int]) -> Tensor:
    """The mask (S,S) that is added to the attention: 0 where a token may look, -inf elsewhere."""
    owners = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    owners = torch.cat([torch.full((prefix,), -1), owners])
    allowed = (owners[None] == owners[:, None]) | (owners[None] == -1)
    allowed &= torch.ones_like(allowed).tril()
    return torch.zeros(allowed.shape).masked_fill(~allowed, float("-inf"))
