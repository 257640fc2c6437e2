"""Attention over time beside a frozen image block, behind a gate that starts at zero.

METHODS section 6, the video side of `ov-multilabel`. Shapes: B batch, T frames, N tokens of a frame
(CLS first), D tower width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from vclip_cli.models.attention import attend


class TemporalBranch(nn.Module):
    """For each place of the frame, attention over the T tokens that stand there.

    frames: T of the learned time positions; for another T they are interpolated linearly.
    cls_only: attention over the CLS tokens alone, the patches stay as they are.
    """

    def __init__(self, width: int, heads: int, frames: int, *, cls_only: bool = False) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        self.cls_only = cls_only
        self.norm = LayerNorm(width)
        self.times = nn.Parameter(0.5 * torch.randn(frames, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, count: int) -> Tensor:
        """What is to be added to tokens (B·T,N,D) of `count` frames a video: the same shape."""
        chosen = tokens[:, :1] if self.cls_only else tokens
        by_video = chosen.unflatten(0, (-1, count))  # (B,T,N,D)
        batch, _, places, width = by_video.shape
        sequences = by_video.transpose(1, 2).reshape(batch * places, count, width)
        normalised = self.norm(sequences) + _for_count(self.times, count).to(sequences.dtype)
        attended = attend(self.attention, normalised)
        gated = self.gate.to(attended.dtype) * attended
        added = gated.reshape(batch, places, count, width).transpose(1, 2).flatten(0, 1)
        if not self.cls_only:
            return added
        return torch.cat([added, torch.zeros_like(tokens[:, 1:])], dim=1)


def _for_count(times: Tensor, count: int) -> Tensor:
    """Learned time positions (T,D) for `count` frames: (count,D)."""
    if len(times) == count:
        return times
    resized = interpolate(times.T[None], size=count, mode="linear", align_corners=False)
    return resized[0].T
