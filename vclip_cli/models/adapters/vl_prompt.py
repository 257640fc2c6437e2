"""`vl-prompt`: ViFi-CLIP's second stage, "bridge and prompt", with vision and language prompts.

Rasheed et al. 2023, "Bridge and prompt"; docs/methods.md#vl-prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import SpecError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.parts.prompts import (
    add_placeholder,
    average_ensembles,
    embed_words,
    flatten_prompts,
    in_batches,
    replace_context,
)
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Prompts, Trainable
from vclip_cli.models.tensors import to_device
from vclip_cli.models.towers import image_tower, text_tower, without_padding

MOST_WORDS = 4
"""Words start the text context only up to this many tokens, as in the authors' code."""


@dataclass(frozen=True)
class VlPromptConfig(AdapterConfig):
    """The base-to-novel setting of the paper is the default.

    vision_tokens, text_tokens: learned tokens a block. vision_depth, text_depth: how many blocks,
    counted from the first, have their own tokens; at most the tower's; vision_depth 0 for none.
    context_words: what the text tokens of the first block start from, where they are at most 4;
    further words stay in the prompt. text_first: 1 where the first block has no text tokens of its
    own and gets the words.
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
        """The words before a class name; without words, "X X …" is the placeholder."""
        used = self.text_first > 0 or self.text_tokens <= MOST_WORDS
        return self.context_words.replace("_", " ") if used else ""

    def complete(self, prompt: str) -> str:
        """A prompt without context, as the tokenizer gets it."""
        return add_placeholder(prompt, self.words, 0 if self.text_first else self.text_tokens)


class VlPromptAdapter(ClipAdapter):
    """Learned tokens in the first blocks of two frozen towers.

    Vision: `vision_tokens` tokens after the patches, without positions, before `ln_pre`; before
    blocks 1 … depth-1 they are replaced by that block's own. Text: tokens 1 … n after the start
    token, likewise. The paper starts from the towers of a `vifi-clip` checkpoint: `load_tensors`
    takes them, and this method's own checkpoint then holds them too.
    """

    name = "vl-prompt"
    summary = "ViFi-CLIP's bridge and prompt: deep vision and language prompts, towers frozen"
    paper = "Rasheed et al., CVPR 2023, arXiv 2212.03640"
    Config = VlPromptConfig
    config: VlPromptConfig
    cacheable = "frame"
    default_templates = ("{class}.",)

    def __init__(self, backbone: Backbone, config: VlPromptConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.image_tower = image_tower(backbone, self.name)
        self.text_tower = text_tower(backbone, self.name)
        config, first = self.config, self.config.text_first
        vision_depth = min(config.vision_depth, len(self.image_tower.blocks))
        text_depth = min(max(config.text_depth, 1), len(self.text_tower.blocks)) - first
        self.vision_prompts = _normal(vision_depth, config.vision_tokens, self.image_tower.width)
        self.text_prompts = _normal(text_depth, config.text_tokens, self.text_tower.width)
        if config.words and config.text_tokens and not first:
            words = embed_words(backbone, self.text_tower, config.words, config.text_tokens)
            self.text_prompts.data[0].copy_(words)

    @property
    def text_trains(self) -> bool:
        """The context's gradient comes through the text tower."""
        return self.text_prompts.numel() > 0

    def trainable(self) -> dict[str, Trainable]:
        """The learned tokens."""
        prompts = {"vision_prompts": self.vision_prompts, "text_prompts": self.text_prompts}
        return {name: Trainable(value) for name, value in prompts.items() if value.numel()}

    def _encode_frames(self, frames: Tensor) -> Tensor:
        tower, count = self.image_tower, self.config.vision_tokens
        tokens = tower.embed(frames.flatten(0, 1))
        depth = len(self.vision_prompts) if count else 0
        if depth:
            tokens = torch.cat([tokens, self._vision_prompts_of(0, tokens)], dim=1)

        def enter(index: int, tokens: Tensor) -> Tensor:
            if not 0 < index < depth:
                return tokens
            return torch.cat([tokens[:, :-count], self._vision_prompts_of(index, tokens)], dim=1)

        return tower.encode(tokens, self.runner, enter).unflatten(0, frames.shape[:2])

    def _vision_prompts_of(self, index: int, tokens: Tensor) -> Tensor:
        return self.vision_prompts[index].to(tokens.dtype).expand(len(tokens), -1, -1)

    def encode_text(self, prompts: Prompts) -> Tensor:
        """K prompt lists, without context, to L2-normalised class embeddings (K,E)."""
        flat, lengths = flatten_prompts(prompts)
        ids = self.backbone.tokenize([self.config.complete(p) for p in flat])
        embeddings = in_batches(lambda part: self._encode_ids(ids[part]), len(ids))
        return average_ensembles(self.runner.show("text/embeddings", embeddings), lengths)

    def _encode_ids(self, ids: Tensor) -> Tensor:
        tower, first = self.text_tower, self.config.text_first
        if self.observe is None:
            ids = without_padding(tower, ids)
        ids = to_device(ids, self.device)
        tokens = tower.embed(ids)
        if not first:
            tokens = replace_context(tokens, self.text_prompts[0])
        self.runner.show("text/input", tokens)

        def enter(index: int, tokens: Tensor) -> Tensor:
            if not 0 < index < first + len(self.text_prompts):
                return tokens
            return replace_context(tokens, self.text_prompts[index - first])

        return tower.encode(tokens, ids, self.runner, enter)


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(*shape))
