"""QuickGELU in less time and memory than as it is written, for both towers alike."""

from __future__ import annotations

from open_clip.transformer import QuickGELU
from torch import Tensor, nn
from torch.nn.functional import silu

FACTOR = 1.702


class LeanQuickGELU(QuickGELU):
    """x·sigmoid(1.702x) as silu(1.702x)/1.702, in place of its input.

    The backward pass keeps one tensor where the product keeps two, and memory is written to three
    times less.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape, to the same shape; x itself is overwritten."""
        return silu(x.mul_(FACTOR)).mul_(1 / FACTOR)


def use_lean_activations(clip: nn.Module) -> None:
    """Put `LeanQuickGELU` in the place of the QuickGELU of every MLP, which has no other reader."""
    for module in clip.modules():
        if isinstance(module, nn.Sequential):
            for name, child in module.named_children():
                if type(child) is QuickGELU:
                    setattr(module, name, LeanQuickGELU())
