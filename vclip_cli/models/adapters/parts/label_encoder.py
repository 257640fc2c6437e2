"""From class names to soft attribute tokens for CLIP's text tower.

The label encoder of docs/methods.md#ov-multilabel: [learned prefixes, class-name tokens] → frozen
causal language model → hidden states → a small trained transformer with learned queries → attribute
tokens. Shapes: K labels, S states of a label, W width of the states, D width of CLIP's text tower,
A attributes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vclip_cli.models.layers import attend, heads_for


class PromptingTransformer(nn.Module):
    """Learned queries (A,D) over a label's states (K,S,W): attribute tokens (K,A,D).

    Each layer: attention among the queries, attention from them to the states, an MLP. The result
    is multiplied by a gate that starts at zero, so that training starts without attributes.
    """

    def __init__(self, states_width: int, width: int, attributes: int, layers: int) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        self.input_norm = LayerNorm(states_width)
        self.input_projection = nn.Linear(states_width, width)
        self.queries = nn.Parameter(0.02 * torch.randn(attributes, width))
        self.layers = nn.ModuleList(PromptingLayer(width) for _ in range(layers))
        self.output_norm = LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(attributes, width))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States (K,S,W), and a mask (K,S) that is False at padding, to attributes (K,A,D)."""
        projected = self.input_projection(self.input_norm(states.to(self.gate.dtype)))
        tokens = self.queries.expand(len(states), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, projected, ~mask)
        return self.gate * self.output_norm(tokens)


class PromptingLayer(nn.Module):
    """Self-attention, cross-attention and MLP of width D, each with a norm before it."""

    def __init__(self, width: int) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        heads = heads_for(width)
        self.self_norm = LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_norm = LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp_norm = LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, states: Tensor, padding: Tensor) -> Tensor:
        """Tokens (K,A,D) attend to states (K,S,D), except where padding (K,S) is True."""
        tokens = tokens + attend(self.self_attention, self.self_norm(tokens))
        queries = self.cross_norm(tokens)
        attended, _ = self.cross_attention(
            queries, states, states, key_padding_mask=padding, need_weights=False
        )
        tokens = tokens + attended
        return tokens + self.mlp(self.mlp_norm(tokens))
