"""`vl-prompt`: ViFi-CLIP's second stage, vision and language prompts (METHODS section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import SpecError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Trainable
from vclip_cli.models.prompts import (
    average_ensembles,
    flatten_prompts,
    in_batches,
    replace_context,
    with_placeholder,
)
from vclip_cli.models.shortcuts import (
    causal_mask,
    cls_step,
    end_step,
    is_watched,
    without_padding,
)
from vclip_cli.models.tensors import to_device
from vclip_cli.models.towers import (
    image_tower,
    patch_tokens,
    pool_text,
    project_cls,
    text_tower,
    whole_block,
)

WORDS_UP_TO = 4
"""Words start the text context only up to this many tokens, as in the authors' code."""


@dataclass(frozen=True)
class VlPromptConfig(AdapterConfig):
    """The base-to-novel setting of the paper is the default.

    vision_tokens, text_tokens: learned tokens a block. vision_depth, text_depth: the blocks,
    counted from the first, that have their own; more than the tower has means all; vision_depth 0
    means none. context_words: what the text tokens of the first block start from, where there are
    at most 4 of them; words beyond their number stay in the prompt as they are. text_first: 1 where
    the first block has no text tokens of its own, and reads the words.
    """

    vision_tokens: int = 16
    text_tokens: int = 16
    vision_depth: int = 9
    text_depth: int = 9
    context_words: str = "a photo of a"
    text_first: Literal[0, 1] = 0

    def __post_init__(self) -> None:
        """Raises SpecError for a number that cannot be."""
        for option in ("vision_tokens", "text_tokens", "vision_depth", "text_depth"):
            if getattr(self, option) < 0:
                raise SpecError(f"the option {option!r} cannot be negative")
        if max(self.vision_tokens, self.text_tokens) > 4096:
            raise SpecError("more than 4096 tokens a block are not built")
        if self.text_first not in (0, 1):
            raise SpecError("the option 'text_first' is 0 or 1", found=str(self.text_first))

    @property
    def words(self) -> str:
        """The words that stand before a class name; "X X …" hold the place where there are none."""
        fixed = self.text_first > 0 or self.text_tokens <= WORDS_UP_TO
        return self.context_words.replace("_", " ") if fixed else ""

    def complete(self, prompt: str) -> str:
        """A prompt without context to what is tokenised."""
        return with_placeholder(prompt, self.words, 0 if self.text_first else self.text_tokens)


class VlPromptAdapter(ClipAdapter):
    """Learned tokens in the first blocks of two frozen towers.

    Vision: `vision_tokens` tokens after the patches, without positions, before `ln_pre`; at the
    entry of blocks 1 … depth-1 the last ones are replaced by that block's own. Text: tokens
    1 … n after the start token, likewise. The paper starts from the towers of a `vifi-clip`
    checkpoint: `load_tensors` takes them, and this method's own checkpoint then carries them.
    """

    name = "vl-prompt"
    summary = "ViFi-CLIP's bridge and prompt: deep vision and language prompts, towers frozen"
    paper = "Rasheed et al., CVPR 2023, arXiv 2212.03640"
    Config = VlPromptConfig
    cacheable = "frame"
    default_templates = ("{class}.",)

    def __init__(self, backbone: Backbone, config: VlPromptConfig | None = None) -> None:
        super().__init__(backbone, config)
        visual = image_tower(backbone, self.name)
        self.text_tower = text_tower(backbone, self.name)
        vision_depth = min(self.config.vision_depth, len(visual.transformer.resblocks))
        first = self.config.text_first
        text_depth = min(max(self.config.text_depth, 1), self.text_tower.depth) - first
        width = visual.class_embedding.shape[0]
        self.vision_prompts = _normal(vision_depth, self.config.vision_tokens, width)
        self.text_prompts = _normal(text_depth, self.config.text_tokens, self.text_tower.width)
        if self.config.words and self.config.text_tokens and not first:
            ids = backbone.tokenize([self.config.words]).to(self.device)
            with torch.no_grad():
                words = self.text_tower.embed(ids)[0, 1 : 1 + self.config.text_tokens]
                self.text_prompts[0].copy_(words)

    @property
    def text_trains(self) -> bool:
        """The context's gradient comes through the text tower."""
        return self.text_prompts.numel() > 0

    def trainable(self) -> dict[str, Trainable]:
        """The learned tokens."""
        prompts = {"vision_prompts": self.vision_prompts, "text_prompts": self.text_prompts}
        return {name: Trainable(value) for name, value in prompts.items() if value.numel()}

    def _encode_frames(self, frames: Tensor) -> Tensor:
        visual = self.clip.visual
        tokens = patch_tokens(visual, frames.flatten(0, 1))
        count = self.config.vision_tokens if len(self.vision_prompts) else 0
        if count:
            tokens = torch.cat([tokens, self._vision_prompts_of(0, tokens)], dim=1)
        tokens = self._show("visual/ln_pre", visual.ln_pre(tokens))
        last = len(visual.transformer.resblocks) - 1
        for index, block in enumerate(visual.transformer.resblocks):
            if count and 0 < index < len(self.vision_prompts):
                own = self._vision_prompts_of(index, tokens)
                tokens = torch.cat([tokens[:, :-count], own], dim=1)
            if index == last and self.observe is None and not is_watched(visual):
                tokens = self._run(cls_step, block, tokens)
            else:
                tokens = self._show(f"visual/block{index}", self._run(whole_block, block, tokens))
        return project_cls(visual, tokens).unflatten(0, frames.shape[:2])

    def _vision_prompts_of(self, index: int, tokens: Tensor) -> Tensor:
        return self.vision_prompts[index].to(tokens.dtype).expand(len(tokens), -1, -1)

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """K prompt lists, without context, to L2-normalised class embeddings (K,E)."""
        flat, lengths = flatten_prompts(prompts)
        ids = self.backbone.tokenize([self.config.complete(p) for p in flat])
        embeddings = in_batches(lambda part: self._encode_ids(ids[part]), len(ids))
        return average_ensembles(self._show("text/embeddings", embeddings), lengths)

    def _encode_ids(self, ids: Tensor) -> Tensor:
        tower = self.text_tower
        if self.observe is None:
            ids = without_padding(tower, ids)
        ids = to_device(ids, self.device)
        tokens, first = tower.embed(ids), self.config.text_first
        if not first:
            tokens = replace_context(tokens, self.text_prompts[0])
        self._show("text/input", tokens)
        tokens = tokens + tower.owner.positional_embedding[: ids.shape[1]].to(tokens.dtype)
        mask = causal_mask(tower, ids)
        for index, block in enumerate(tower.owner.transformer.resblocks):
            if 0 < index < first + len(self.text_prompts):
                tokens = replace_context(tokens, self.text_prompts[index - first])
            if index == tower.depth - 1 and self.observe is None:
                return self._run(end_step, tower, block, tokens, ids)
            tokens = self._show(f"text/block{index}", self._run(whole_block, block, tokens, mask))
        return pool_text(tower, tokens, ids)


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(*shape))
