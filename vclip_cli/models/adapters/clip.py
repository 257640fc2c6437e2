"""`clip`: the image tower frame by frame, embeddings averaged over time, no training.

The baseline of every paper: Radford et al. 2021, sections 3.1.2 and 3.1.4; docs/methods.md#clip.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vclip_cli.models.adapters.parts.prompts import encode_prompt_ensembles
from vclip_cli.models.contract import Adapter, Prompts, backbone_identity
from vclip_cli.models.towers import encode_images


class ClipAdapter(Adapter):
    """Mean pooling over frames; logits are exp(logit_scale) times the cosine.

    Frame embeddings are averaged before they are normalised, as in ViFi-CLIP and ActionCLIP.
    """

    name = "clip"
    summary = "CLIP itself: frame embeddings averaged over time, zero-shot"
    paper = "Radford et al., ICML 2021, arXiv 2103.00020"
    cacheable: ClassVar[Literal["frame", "video", "none"]] = "frame"
    default_templates = ("a photo of a {class}.",)

    @property
    def video_identity(self) -> dict[str, Any]:
        """The backbone alone, where this class encodes frames and the image tower is unchanged.

        So all methods that leave CLIP's image side as it is share their embeddings. A subclass that
        changes the tower other than by its tensors must say so here.
        """
        encoders = ("encode_frames", "_encode_frames")
        same = all(getattr(type(self), name) is getattr(ClipAdapter, name) for name in encoders)
        if same and not any(name.startswith("clip.visual.") for name in self.checkpoint_tensors()):
            return backbone_identity(self.backbone)
        return super().video_identity

    def encode_text(self, prompts: Prompts) -> Tensor:
        """K prompt lists to L2-normalised class embeddings (K,E); ensembles are averaged."""
        return encode_prompt_ensembles(self.backbone, prompts)

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to frame embeddings (B,T,E), not normalised."""
        return self.one_by_one(self._encode_frames, frames)

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
