"""CLIP's two towers, opened so that an adapter can put its own tokens between the blocks.

The blocks and their parameters are open_clip's own. Work that cannot change the result is left out:
the image tower returns its CLS token alone, so the last block computes no other; the text tower is
causal, so padding after the last prompt's end is cut. Shapes: B images or prompts, N tokens of
each, D tower width, E embedding width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vclip_cli.common.errors import UsageError
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.layers import attend
from vclip_cli.models.tensors import to_device

Residual = Callable[[Tensor], Tensor]
Enter = Callable[[int, Tensor], Tensor]
"""Called with a block's number and the tokens (B,N,D) before that block; gives its input."""


@dataclass
class BlockRunner:
    """How an adapter runs the blocks of its towers.

    checkpointing: a block is computed again in the backward pass, to save memory.
    observe: called with the name and the value of intermediate tensors.
    """

    checkpointing: bool = False
    observe: Callable[[str, Tensor], None] | None = None

    def run(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """`function(*inputs)`, checkpointed where that is on and gradients are computed."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)
        return function(*inputs)

    def show(self, name: str, value: Tensor) -> Tensor:
        """Give a tensor to the observer, if there is one, and return it."""
        if self.observe is not None:
            self.observe(name, value)
        return value


# One block ----------------------------------------------------------------------------------------


def _same(values: Tensor) -> Tensor:
    return values


def attention_step(
    block: Any, tokens: Tensor, mask: Tensor | None = None, residual: Residual = _same
) -> Tensor:
    """The first half of a block, x + residual(attention(ln_1(x))): tokens (B,N,D) to (B,N,D)."""
    return tokens + residual(block.ls_1(attend(block.attn, block.ln_1(tokens), mask=mask)))


def mlp_step(block: Any, tokens: Tensor, residual: Residual = _same) -> Tensor:
    """The second half of a block, x + residual(mlp(ln_2(x))): tokens (B,N,D) to (B,N,D)."""
    return tokens + residual(block.ls_2(block.mlp(block.ln_2(tokens))))


def whole_block(block: Any, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Tokens (B,N,D) through both halves of a block; mask (N,N) is added to the attention."""
    return mlp_step(block, attention_step(block, tokens, mask))


def cls_step(block: Any, tokens: Tensor, added: Tensor | None = None) -> Tensor:
    """A whole block, computed for the CLS token only: tokens (B,N,D) to (B,1,D).

    added: (B,1,D), what is added to the result of the attention.
    """
    normalised = block.ln_1(tokens)
    attended = tokens[:, :1] + block.ls_1(attend(block.attn, normalised[:, :1], normalised))
    return mlp_step(block, attended if added is None else attended + added)


def has_hooks(module: nn.Module) -> bool:
    """Whether hooks in a module expect to see every token of every block."""
    return any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


# Images -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageTower:
    """CLIP's vision transformer; `visual` is open_clip's module."""

    visual: Any

    @property
    def blocks(self) -> Sequence[Any]:
        """Its transformer blocks, first to last."""
        return self.visual.transformer.resblocks

    @property
    def width(self) -> int:
        """The width D of its tokens."""
        return self.visual.class_embedding.shape[0]

    @property
    def patch_area(self) -> int:
        """The pixels of a patch."""
        return math.prod(self.visual.patch_size)

    @property
    def computes_cls_only(self) -> bool:
        """Whether the last block may leave out all tokens but the CLS token."""
        return not has_hooks(self.visual)

    def embed(self, images: Tensor) -> Tensor:
        """Images (B,C,H,W) to CLS and patch tokens (B,1+N,D), positions added, before `ln_pre`.

        Raises UsageError for images of another size than the tower's.
        """
        visual = self.visual
        if tuple(images.shape[-2:]) != tuple(visual.image_size):
            raise UsageError(
                "the image tower takes frames of one size only",
                found="x".join(map(str, images.shape[-2:])),
                expected="x".join(map(str, visual.image_size)),
            )
        patches = visual.conv1(images).flatten(2).transpose(1, 2)
        cls = visual.class_embedding.to(patches.dtype).expand(len(patches), 1, -1)
        tokens = torch.cat([cls, patches], dim=1)
        return visual.patch_dropout(tokens + visual.positional_embedding.to(tokens.dtype))

    def normalise(self, tokens: Tensor) -> Tensor:
        """Tokens (B,N,D) through `ln_pre`."""
        return self.visual.ln_pre(tokens)

    def encode(self, tokens: Tensor, runner: BlockRunner, enter: Enter | None = None) -> Tensor:
        """Tokens (B,N,D), before `ln_pre`, through all blocks to image embeddings (B,E)."""
        tokens = runner.show("visual/ln_pre", self.normalise(tokens))
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            if enter is not None:
                tokens = enter(index, tokens)
            if index == last and runner.observe is None and self.computes_cls_only:
                tokens = runner.run(cls_step, block, tokens)
            else:
                tokens = runner.run(whole_block, block, tokens)
                runner.show(f"visual/block{index}", tokens)
        return self.project(tokens)

    def project(self, tokens: Tensor) -> Tensor:
        """The last block's tokens (B,N,D) to the CLS token's embedding (B,E)."""
        pooled = self.visual.ln_post(tokens[:, 0])
        return pooled if self.visual.proj is None else pooled @ self.visual.proj


def image_tower(backbone: Backbone, method: str) -> ImageTower:
    """The backbone's image tower, if it is a CLIP vision transformer that pools its CLS token.

    Raises UsageError, naming the method, for a ResNet, a timm tower or another pooling.
    """
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    visual = backbone.clip.visual
    if not isinstance(visual, VisionTransformer):
        raise _wrong_tower(backbone, method, f"an image tower of kind {type(visual).__name__}")
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise _wrong_tower(backbone, method, "an image tower that does not pool its CLS token")
    tower = ImageTower(visual)
    if not all(isinstance(block, ResidualAttentionBlock) for block in tower.blocks):
        raise _wrong_tower(backbone, method, "an image tower with custom blocks")
    return tower


def encode_images(backbone: Backbone, images: Tensor) -> Tensor:
    """Images (B,C,H,W) to embeddings (B,E), not normalised, by any backbone."""
    try:
        tower = image_tower(backbone, "")
    except UsageError:
        return backbone.clip.encode_image(images)
    if not tower.computes_cls_only:
        return backbone.clip.encode_image(images)
    runner = BlockRunner(tower.visual.transformer.grad_checkpointing)
    return tower.encode(tower.embed(images), runner)


# Texts --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextTower:
    """CLIP's causal text transformer; `owner` is open_clip's module that holds its parts."""

    owner: Any
    pool_type: str
    eos_id: int | None

    @property
    def blocks(self) -> Sequence[Any]:
        """Its transformer blocks, first to last."""
        return self.owner.transformer.resblocks

    @property
    def width(self) -> int:
        """The width D of its tokens."""
        return self.owner.positional_embedding.shape[1]

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B,N) to token embeddings (B,N,D), positions not yet added."""
        return self.owner.token_embedding(ids)

    def positions(self, where: slice | Tensor, like: Tensor) -> Tensor:
        """Rows of the table of positions, in the type of another tensor."""
        return self.owner.positional_embedding[where].to(like.dtype)

    def mask(self, length: int) -> Tensor:
        """The causal mask (N,N) for prompts of N tokens, which is added to the attention."""
        return self.owner.attn_mask[:length, :length]

    def encode(
        self, tokens: Tensor, ids: Tensor, runner: BlockRunner, enter: Enter | None = None
    ) -> Tensor:
        """Token embeddings (B,N,D), positions not yet added, of prompts (B,N) to (B,E)."""
        length = ids.shape[1]
        tokens = tokens + self.positions(slice(length), tokens)
        rows, ends = torch.arange(len(ids), device=ids.device), prompt_ends(self, ids)
        return self.encode_ends(
            tokens, self.mask(length), (rows, ends), ids[rows, ends], runner, enter
        )

    def encode_ends(
        self,
        tokens: Tensor,
        mask: Tensor,
        ends: tuple[Any, Tensor],
        end_ids: Tensor,
        runner: BlockRunner,
        enter: Enter | None = None,
    ) -> Tensor:
        """Tokens of sequences (S,N,D), positions added, to the embeddings (B,E) of B prompts.

        mask: (N,N), added to the attention. ends: index of each prompt's last token in the
        sequences. end_ids: those tokens' ids (B,). The last block's MLP sees the ends only, unless
        an observer wants all tokens.
        """
        *blocks, last = self.blocks
        for index, block in enumerate(blocks):
            if enter is not None:
                tokens = enter(index, tokens)
            tokens = runner.run(whole_block, block, tokens, mask)
            runner.show(f"text/block{index}", tokens)
        if enter is not None:
            tokens = enter(len(blocks), tokens)
        if runner.observe is None:
            return runner.run(self._last_block, last, tokens, mask, ends, end_ids)
        tokens = runner.run(whole_block, last, tokens, mask)
        runner.show(f"text/block{len(blocks)}", tokens)
        return self._pool(tokens[ends][:, None], end_ids[:, None])

    def _last_block(
        self, block: Any, tokens: Tensor, mask: Tensor, ends: tuple[Any, Tensor], end_ids: Tensor
    ) -> Tensor:
        attended = attention_step(block, tokens, mask)[ends]
        return self._pool(mlp_step(block, attended[:, None]), end_ids[:, None])

    def _pool(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """The last block's tokens (B,N,D) to the end-of-text token's embedding (B,E)."""
        from open_clip.transformer import text_global_pool

        owner = self.owner
        pooled = text_global_pool(
            owner.ln_final(tokens), ids, self.pool_type, eos_token_id=self.eos_id
        )
        if owner.text_projection is None:
            return pooled
        if isinstance(owner.text_projection, nn.Linear):
            return owner.text_projection(pooled)
        return pooled @ owner.text_projection


def text_tower(backbone: Backbone, method: str) -> TextTower:
    """The backbone's text tower, if it is CLIP's causal transformer.

    Raises UsageError, naming the method, for a Hugging Face encoder or a bidirectional one.
    """
    from open_clip.model import CLIP
    from open_clip.transformer import ResidualAttentionBlock, TextTransformer

    clip = backbone.clip
    inner = getattr(clip, "text", None)
    if isinstance(clip, CLIP):
        tower = TextTower(clip, clip.text_pool_type, getattr(clip, "text_eos_id", None))
    elif isinstance(inner, TextTransformer) and inner.cls_emb is None and not inner.use_pad_mask:
        tower = TextTower(inner, inner.pool_type, getattr(inner, "eos_id", None))
    else:
        raise _wrong_tower(backbone, method, f"a text tower of kind {type(inner).__name__}")
    if tower.owner.attn_mask is None or tower.pool_type not in ("argmax", "eos", "last"):
        raise _wrong_tower(backbone, method, "a text tower that is not causal")
    if not all(isinstance(block, ResidualAttentionBlock) for block in tower.blocks):
        raise _wrong_tower(backbone, method, "a text tower with custom blocks")
    return tower


def prompt_ends(tower: TextTower, ids: Tensor) -> Tensor:
    """The position (B,) of the token whose embedding stands for each prompt of ids (B,N)."""
    if tower.pool_type == "argmax":
        return ids.argmax(dim=1)
    if tower.pool_type == "eos" and tower.eos_id is not None:
        return torch.eq(ids, tower.eos_id).int().argmax(dim=1)
    return torch.full((len(ids),), ids.shape[1] - 1, device=ids.device)


def without_padding(tower: TextTower, ids: Tensor) -> Tensor:
    """Token ids (B,N) cut after the end of the longest prompt.

    The ids have to be on the CPU: on a GPU the program would wait for the length.
    """
    return ids[:, : int(prompt_ends(tower, ids).max()) + 1]


def encode_ids(backbone: Backbone, ids: Tensor) -> Tensor:
    """Token ids (B,N) on the CPU to text embeddings (B,E), not normalised, by any backbone."""
    device = next(backbone.clip.parameters()).device
    try:
        tower = text_tower(backbone, "")
    except UsageError:
        return backbone.clip.encode_text(to_device(ids, device))
    if has_hooks(tower.owner):
        return backbone.clip.encode_text(to_device(ids, device))
    ids = to_device(without_padding(tower, ids), device)
    runner = BlockRunner(tower.owner.transformer.grad_checkpointing)
    return tower.encode(tower.embed(ids), ids, runner)


def _wrong_tower(backbone: Backbone, method: str, found: str) -> UsageError:
    return UsageError(
        f"{method} puts tokens between the blocks of CLIP's own transformers; "
        f"the backbone {backbone.name!r} has others",
        found=found,
        expected="an open_clip vision transformer with CLIP's text transformer",
        hint="for example --backbone ViT-B-16-quickgelu; `clip` and `vifi-clip` take any backbone",
    )
