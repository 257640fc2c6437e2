"""From class names to soft attribute tokens for CLIP's text tower (METHODS section 6).

[learned prefixes, class-name tokens] → frozen causal language model → hidden states → a small
trained transformer with learned queries → attribute tokens. Shapes: K labels, S states of a label,
W width of the states, D width of CLIP's text tower, A attributes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vclip_cli.models.attention import attend


class PromptingTransformer(nn.Module):
    """Learned queries (A,D) that read a label's states (K,S,W): attribute tokens (K,A,D).

    Each layer: attention among the queries, attention from them to the states, an MLP. What comes
    out passes a gate that starts at zero, so that training starts without attributes.
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
        """States (K,S,W), and which of them are no padding (K,S), to attributes (K,A,D)."""
        read = self.input_projection(self.input_norm(states.to(self.gate.dtype)))
        tokens = self.queries.expand(len(states), -1, -1)
        for layer in self.layers:
            tokens = layer(tokens, read, ~mask)
        return self.gate * self.output_norm(tokens)


class PromptingLayer(nn.Module):
    """Self-attention, cross-attention and MLP with norms before them, D wide."""

    def __init__(self, width: int) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        heads = _heads(width)
        self.self_norm = LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.cross_norm = LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp_norm = LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, states: Tensor, padding: Tensor) -> Tensor:
        """Tokens (K,A,D) that read states (K,S,D); padding (K,S) is not read."""
        tokens = tokens + attend(self.self_attention, self.self_norm(tokens))
        tokens = (
            tokens
            + self.cross_attention(
                self.cross_norm(tokens),
                states,
                states,
                key_padding_mask=padding,
                need_weights=False,
            )[0]
        )
        return tokens + self.mlp(self.mlp_norm(tokens))


def _heads(width: int) -> int:
    """Heads of 64 channels, or as near to that as divides the width."""
    return next(count for count in range(max(1, width // 64), 0, -1) if width % count == 0)
