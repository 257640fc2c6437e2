"""A tiny CLIP with random weights, and every adapter on it."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import Adapter
from vclip_cli.models.fitting import Fitting
from vclip_cli.models.registry import find_method

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


def embedded_examples(shots: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Embeddings (N,64) around a centre for each class, L2 normalised, and targets (N,)."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(len(CLASSES), 64, generator=generator)
    targets = torch.arange(len(CLASSES)).repeat_interleave(shots)
    noise = 1.5 * torch.randn(len(targets), 64, generator=generator)
    return normalize(centres[targets] + noise, dim=-1), targets


def build(method: str, backbone: Backbone, **options: Any) -> Adapter:
    """A method on a backbone; one that is fitted has seen `embedded_examples`, gates are open."""
    found = find_method(method)
    adapter = found(backbone, found.Config(**options))
    if found.fits:
        adapter.fit(*embedded_examples(), PROMPTS, Fitting(seed=3, batch_size=8, epochs=2))
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.5)
    return adapter


OPTIONS: dict[str, dict[str, Any]] = {
    "clip": {},
    "vifi-clip": {},
    "vifi-clip image": {"tune": "image"},
    "vifi-clip text": {"tune": "text"},
    "vl-prompt": {"vision_tokens": 3, "text_tokens": 6, "vision_depth": 2, "text_depth": 2},
    "vl-prompt words": {"vision_tokens": 2, "text_tokens": 4, "vision_depth": 1, "text_depth": 1},
    "vita-clip": VITA,
    "vita-clip specific": {
        **VITA,
        "class_specific": True,
        "classes": CLASSES,
        "class_position": "middle",
    },
    "vita-clip bare": {
        "frames": FRAMES,
        "global_prompts": 0,
        "local_prompts": False,
        "summary_token": False,
        "text_context": 0,
    },
    "x-clip": {"frames": FRAMES, "integration_layers": 2},
    "coop": {"context_tokens": 4},
    "coop specific": {"context_tokens": 4, "class_specific": True, "classes": CLASSES},
    "linear-probe": {"classes": CLASSES},
    "tip-adapter": {"classes": CLASSES},
    "tip-adapter tuned": {"classes": CLASSES, "fine_tune": True},
    "ov-multilabel": {"frames": FRAMES},
    "ov-multilabel cls": {
        "frames": FRAMES,
        "attributes": 6,
        "temporal_blocks": 2,
        "temporal_places": "cls",
    },
}
"""Every method and switch: the method's name, a word for the variant, to the method's options."""
ALL_BUILDS: dict[str, Callable[[Backbone], Adapter]] = {
    name: functools.partial(build, name.split()[0], **options) for name, options in OPTIONS.items()
}
"""One adapter of every method and switch, on a backbone."""
BUILDS = {
    name: ALL_BUILDS[name]
    for name in ALL_BUILDS
    if name.split()[0] in ("vifi-clip", "vl-prompt", "vita-clip", "x-clip")
}
"""Those of the published methods that train on videos."""


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
