"""`clip`: the image tower frame by frame, embeddings averaged over time, no training.

The baseline of every paper (METHODS section 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vclip_cli.models.contract import Adapter, backbone_side
from vclip_cli.models.prompts import encode_prompt_ensembles
from vclip_cli.models.shortcuts import encode_images, one_by_one


class ClipAdapter(Adapter):
    """Mean pooling over frames; logits are exp(logit_scale) times the cosine.

    Frame embeddings are averaged before they are normalised, as in ViFi-CLIP and ActionCLIP.
    """

    name = "clip"
    summary = "CLIP itself: frame embeddings averaged over time, zero-shot"
    paper = "Radford et al., ICML 2021, arXiv 2103.00020"
    cacheable = "frame"
    default_templates = ("a photo of a {class}.",)

    @property
    def video_identity(self) -> dict[str, Any]:
        """The backbone alone, as long as this very `encode_frames` runs on an untouched tower.

        So all methods that leave CLIP's image side as it is share their embeddings. One derived
        from this class that changes the tower other than by its tensors must say so here.
        """
        own = ("encode_frames", "_encode_frames")
        same = all(getattr(type(self), name) is getattr(ClipAdapter, name) for name in own)
        if same and not any(name.startswith("clip.visual.") for name in self.stored()):
            return backbone_side(self.backbone)
        return super().video_identity

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """K prompt lists to L2-normalised class embeddings (K,E); ensembles are averaged."""
        return encode_prompt_ensembles(self.backbone, prompts)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to frame embeddings (B,T,E), not normalised."""
        return one_by_one(self, self._encode_frames, frames)

    def _encode_frames(self, frames: Tensor) -> Tensor:
        return encode_images(self.backbone, frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def pool_frames(self, embeddings: Tensor) -> Tensor:
        """Frame embeddings (B,T,E) to L2-normalised video embeddings (B,E)."""
        return normalize(embeddings.float().mean(dim=1), dim=-1)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to L2-normalised video embeddings (B,E)."""
        return self.pool_frames(self.encode_frames(frames))

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Video embeddings (B,E) and class embeddings (K,E) to logits (B,K)."""
        with torch.autocast(video.device.type, enabled=False):
            return self.logit_scale().float() * video.float() @ text.float().T
