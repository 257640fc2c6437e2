"""A tiny CLIP with random weights, and every adapter on it."""

from __future__ import annotations

import functools
import json
from typing import Any

import torch
from torch import Tensor

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.models.adapters.vifi_clip import VifiClipAdapter, VifiClipConfig
from vclip_cli.models.adapters.vita_clip import VitaClipAdapter, VitaClipConfig
from vclip_cli.models.adapters.vl_prompt import VlPromptAdapter, VlPromptConfig
from vclip_cli.models.adapters.x_clip import XClipAdapter, XClipConfig
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import Adapter

ARCHITECTURE: dict[str, Any] = {
    "embed_dim": 64,
    "quick_gelu": True,
    "vision_cfg": {
        "image_size": 32,
        "patch_size": 16,
        "width": 64,
        "layers": 3,
        "head_width": 32,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 3,
    },
}
CLASSES = ("brush_hair", "playing guitar", "ApplyEyeMakeup")
PROMPTS = [["brush hair."], ["playing guitar."], ["ApplyEyeMakeup."]]


VOCABULARY = 512
FRAMES = 4
VITA = {"frames": FRAMES, "global_prompts": 2, "text_context": 3}
BUILDS = {
    "vifi-clip": lambda b: VifiClipAdapter(b),
    "vifi-clip image": lambda b: VifiClipAdapter(b, VifiClipConfig(tune="image")),
    "vifi-clip text": lambda b: VifiClipAdapter(b, VifiClipConfig(tune="text")),
    "vl-prompt": lambda b: VlPromptAdapter(b, VlPromptConfig(3, 6, 2, 2)),
    "vl-prompt words": lambda b: VlPromptAdapter(b, VlPromptConfig(2, 4, 1, 1)),
    "vita-clip": lambda b: VitaClipAdapter(b, VitaClipConfig(**VITA)),
    "vita-clip specific": lambda b: VitaClipAdapter(
        b, VitaClipConfig(**VITA, class_specific=True, classes=CLASSES, class_position="middle")
    ),
    "vita-clip bare": lambda b: VitaClipAdapter(
        b,
        VitaClipConfig(
            FRAMES, global_prompts=0, local_prompts=False, summary_token=False, text_context=0
        ),
    ),
    "x-clip": lambda b: XClipAdapter(b, XClipConfig(FRAMES, integration_layers=2)),
}
"""One adapter of every method and switch, on a backbone."""


class SmallTokenizer:
    """CLIP's own tokenizer folded into a small vocabulary, which keeps the tiny CLIP small.

    The end-of-text token stays the highest number, by which CLIP finds it.
    """

    def __init__(self) -> None:
        import open_clip

        self._whole = open_clip.get_tokenizer("ViT-B-16")

    def __call__(self, prompts: list[str]) -> Tensor:
        ids = self._whole(prompts)
        start, end = self._whole.sot_token_id, self._whole.eot_token_id
        small = ids % (VOCABULARY - 2)
        small[ids == start], small[ids == end] = VOCABULARY - 2, VOCABULARY - 1
        return small

    def encode(self, text: str) -> list[int]:
        return [token % (VOCABULARY - 2) for token in self._whole.encode(text)]


@functools.cache
def tokenizer() -> SmallTokenizer:
    """Built once."""
    return SmallTokenizer()


def tiny_backbone(seed: int = 0, **changes: Any) -> Backbone:
    """A backbone of `ARCHITECTURE`, with changes to its vision config."""
    from open_clip.model import CLIP

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = json.loads(json.dumps(ARCHITECTURE))
        config["vision_cfg"] |= changes
        config["text_cfg"]["vocab_size"] = VOCABULARY
        clip = CLIP(**config).eval()
    return Backbone(clip, "tiny", f"random:{seed}", tokenizer(), Preprocessing(size=32), True)


def random_video(batch: int = 2, frames: int = 4, seed: int = 0) -> Tensor:
    """Frames (B,T,C,H,W) as after normalisation."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 3, 32, 32, generator=generator)


def logits_of(adapter: Adapter, video: torch.Tensor | None = None) -> torch.Tensor:
    video = random_video(frames=FRAMES) if video is None else video
    return adapter.score(adapter.encode_video(video), adapter.encode_text(PROMPTS))
