"""`vifi-clip`: CLIP itself, fine-tuned on videos.

Rasheed et al. 2023, section 3; docs/methods.md#vifi-clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.contract import AdapterConfig, Trainable

TUNES = ("both", "image", "text")


@dataclass(frozen=True)
class VifiClipConfig(AdapterConfig):
    """tune: which tower trains; with `both` the logit scale trains as well."""

    tune: Literal["both", "image", "text"] = "both"

    def __post_init__(self) -> None:
        """Raises SpecError for an unknown tower."""
        if self.tune not in TUNES:
            raise SpecError(
                f"unknown value {self.tune!r} of the option 'tune'",
                hint=did_you_mean(self.tune, TUNES),
            )


class VifiClipAdapter(ClipAdapter):
    """The forward pass of `clip`; the tuned towers train whole, but for the token embedding table.

    The authors' code embeds the prompts once, before training, so that the table cannot train.
    Weight decay applies to every tensor, as in the authors' optimizer. Any
    open_clip backbone works.
    """

    name = "vifi-clip"
    summary = "ViFi-CLIP: both towers of CLIP, or one, fine-tuned on videos"
    paper = "Rasheed et al., CVPR 2023, arXiv 2212.03640"
    Config = VifiClipConfig
    config: VifiClipConfig
    cacheable = "frame"
    default_templates = ("a photo of a {class}.",)

    _original: dict[str, Tensor] | None = None
    _tuned: dict[str, Tensor] | None = None

    @property
    def text_trains(self) -> bool:
        """Whether the text tower is tuned."""
        return self.config.tune != "image"

    def trainable(self) -> dict[str, Trainable]:
        """The parameters of the tuned towers."""
        return {
            name: Trainable(parameter)
            for name, parameter in self.named_parameters()
            if self._trains(name)
        }

    def _trains(self, name: str) -> bool:
        if "token_embedding" in name or "word_embeddings" in name:
            return False
        if name.startswith("clip.visual."):
            return self.config.tune != "text"
        if name in ("clip.logit_scale", "clip.logit_bias"):
            return self.config.tune == "both"
        return self.config.tune != "image"

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Load tuned weights, and keep the original ones for `interpolate`."""
        self.remember_original()
        super().load_tensors(tensors)

    def remember_original(self) -> None:
        """Keep a copy of the present weights as the original ones of `interpolate`."""
        self._original = {
            name: value.detach().clone()
            for name, value in self.named_parameters()
            if "token_embedding" not in name
        }
        self._tuned = None

    @torch.no_grad()
    def interpolate(self, alpha: float) -> None:
        """Set every weight to (1 - alpha)·original + alpha·tuned (weight-space ensembling).

        alpha: 0 is the original CLIP, 1 the tuned model; each call starts from the tuned weights.
        The original weights are known after `load_adapter` or `remember_original`. Raises
        UsageError for a value outside 0..1, or where they are not known.
        """
        if not 0 <= alpha <= 1:
            raise UsageError("weights interpolate between 0 and 1", found=str(alpha))
        if self._original is None:
            raise UsageError(
                "the original weights to interpolate from are not known",
                hint="load the adapter from its checkpoint",
            )
        own = dict(self.named_parameters())
        if self._tuned is None:
            self._tuned = {name: own[name].detach().clone() for name in self._original}
        for name, tuned in self._tuned.items():
            original = self._original[name].to(tuned)
            own[name].copy_(tuned if alpha == 1 else torch.lerp(original, tuned, alpha))
