"""`vl-prompt`: ViFi-CLIP's second stage, vision and language prompts (METHODS section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vclip_cli.errors import SpecError, UsageError
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
from vclip_cli.models.tensors import check_tensors
from vclip_cli.models.towers import (
    attention_step,
    image_tower,
    mlp_step,
    patch_tokens,
    pool_text,
    project_cls,
    text_tower,
)
from vclip_cli.preprocessing import Preprocessing

WORDS_UP_TO = 4
"""Words start the text context only up to this many tokens, as in the authors' code."""


@dataclass(frozen=True)
class VlPromptConfig(AdapterConfig):
    """The base-to-novel setting of the paper is the default.

    vision_tokens, text_tokens: learned tokens a block. vision_depth, text_depth: the blocks,
    counted from the first, that have their own; more than the tower has means all; vision_depth 0
    means none. context_words: what the text tokens of the first block start from, where there are
    at most 4 of them; words beyond their number stay in the prompt as they are.
    """

    vision_tokens: int = 16
    text_tokens: int = 16
    vision_depth: int = 9
    text_depth: int = 9
    context_words: str = "a photo of a"

    def __post_init__(self) -> None:
        """Raises SpecError for a negative number, or a vision depth without tokens."""
        for option in ("vision_tokens", "text_tokens", "vision_depth", "text_depth"):
            if getattr(self, option) < 0:
                raise SpecError(f"the option {option!r} cannot be negative")

    @property
    def words(self) -> str:
        """The words that hold the learned tokens' place in a prompt; "X X …" where empty."""
        return self.context_words.replace("_", " ") if self.text_tokens <= WORDS_UP_TO else ""


class VlPromptAdapter(ClipAdapter):
    """Learned tokens in the first blocks of two frozen towers.

    Vision: `vision_tokens` tokens after the patches, without positions, before `ln_pre`; at the
    entry of blocks 1 … depth-1 the last ones are replaced by that block's own. Text: tokens
    1 … n after the start token, likewise. Usually built on the towers of a `vifi-clip` checkpoint:
    see `start_from`.
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
        text_depth = min(max(self.config.text_depth, 1), self.text_tower.depth)
        width = visual.class_embedding.shape[0]
        self.vision_prompts = _normal(vision_depth, self.config.vision_tokens, width)
        self.text_prompts = _normal(text_depth, self.config.text_tokens, self.text_tower.width)
        if self.config.words and self.config.text_tokens:
            ids = backbone.tokenize([self.config.words]).to(self.device)
            with torch.no_grad():
                words = self.text_tower.embed(ids)[0, 1 : 1 + self.config.text_tokens]
                self.text_prompts[0].copy_(words)

    def start_from(self, path: str | Path) -> None:
        """Take the towers of a `vifi-clip` checkpoint, which this method's own then carries.

        Raises WeightsError for a file that is missing, damaged or does not fit, UsageError for a
        checkpoint of another method.
        """
        from vclip_cli.models.checkpoint import read_checkpoint

        info, tensors = read_checkpoint(Path(path), self.backbone)
        if info.method != "vifi-clip":
            raise UsageError(
                "vision and language prompts start from a checkpoint of vifi-clip",
                where=str(path),
                found=info.method,
            )
        own = self.state_dict()
        check_tensors({name: own[name] for name in tensors if name in own}, tensors, str(path))
        self.load_tensors(tensors)
        self.preprocessing = Preprocessing.from_dict(info.preprocessing)

    @property
    def text_trains(self) -> bool:
        """The context's gradient comes through the text tower."""
        return self.text_prompts.numel() > 0

    def trainable(self) -> dict[str, Trainable]:
        """The learned tokens."""
        prompts = {"vision_prompts": self.vision_prompts, "text_prompts": self.text_prompts}
        return {name: Trainable(value) for name, value in prompts.items() if value.numel()}

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to frame embeddings (B,T,E), not normalised."""
        visual = self.clip.visual
        tokens = patch_tokens(visual, frames.flatten(0, 1))
        count = self.config.vision_tokens if len(self.vision_prompts) else 0
        if count:
            tokens = torch.cat([tokens, self._vision_prompts_of(0, tokens)], dim=1)
        tokens = self._show("visual/ln_pre", visual.ln_pre(tokens))
        for index, block in enumerate(visual.transformer.resblocks):
            if count and 0 < index < len(self.vision_prompts):
                own = self._vision_prompts_of(index, tokens)
                tokens = torch.cat([tokens[:, :-count], own], dim=1)
            tokens = self._show(f"visual/block{index}", self._run(_block, block, tokens, None))
        return project_cls(visual, tokens).unflatten(0, frames.shape[:2])

    def _vision_prompts_of(self, index: int, tokens: Tensor) -> Tensor:
        return self.vision_prompts[index].to(tokens.dtype).expand(len(tokens), -1, -1)

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """K prompt lists, without context, to L2-normalised class embeddings (K,E)."""
        flat, lengths = flatten_prompts(prompts)
        config = self.config
        full = [with_placeholder(prompt, config.words, config.text_tokens) for prompt in flat]
        ids = self.backbone.tokenize(full).to(self.device)
        embeddings = in_batches(lambda part: self._encode_ids(ids[part]), len(ids))
        return average_ensembles(self._show("text/embeddings", embeddings), lengths)

    def _encode_ids(self, ids: Tensor) -> Tensor:
        tower = self.text_tower
        tokens = replace_context(tower.embed(ids), self.text_prompts[0])
        self._show("text/input", tokens)
        tokens = tokens + tower.owner.positional_embedding[: ids.shape[1]].to(tokens.dtype)
        mask = tower.owner.attn_mask[: ids.shape[1], : ids.shape[1]]
        for index, block in enumerate(tower.owner.transformer.resblocks):
            if 0 < index < len(self.text_prompts):
                tokens = replace_context(tokens, self.text_prompts[index])
            tokens = self._show(f"text/block{index}", self._run(_block, block, tokens, mask))
        return pool_text(tower, tokens, ids)


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.02 * torch.randn(*shape))


def _block(block: nn.Module, tokens: Tensor, mask: Tensor | None) -> Tensor:
    return mlp_step(block, attention_step(block, tokens, mask))
