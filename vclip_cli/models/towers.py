"""CLIP's two towers opened up, so that an adapter can put its own tokens between the blocks.

The blocks, and all their parameters, are open_clip's own. Shapes: N tokens of one image or prompt,
D tower width, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import UsageError
from vclip_cli.models.attention import attend
from vclip_cli.models.backbone import Backbone

Residual = Callable[[Tensor], Tensor]


def image_tower(backbone: Backbone, method: str) -> nn.Module:
    """The backbone's image tower, if it is a CLIP vision transformer that pools its CLS token.

    Raises UsageError, naming the method, for a ResNet, a timm tower or another pooling.
    """
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    visual = backbone.clip.visual
    if not isinstance(visual, VisionTransformer):
        raise _wrong_tower(backbone, method, f"an image tower of kind {type(visual).__name__}")
    if visual.attn_pool is not None or visual.pool_type != "tok":
        raise _wrong_tower(backbone, method, "an image tower that does not pool its CLS token")
    if not all(isinstance(b, ResidualAttentionBlock) for b in visual.transformer.resblocks):
        raise _wrong_tower(backbone, method, "an image tower with custom blocks")
    return visual


def _wrong_tower(backbone: Backbone, method: str, found: str) -> UsageError:
    return UsageError(
        f"{method} puts tokens between the blocks of CLIP's own transformers; "
        f"the backbone {backbone.name!r} has others",
        found=found,
        expected="an open_clip vision transformer with CLIP's text transformer",
        hint="for example --backbone ViT-B-16-quickgelu; `clip` and `vifi-clip` take any backbone",
    )


@dataclass(frozen=True)
class TextTower:
    """CLIP's text transformer; `owner` is the module that holds its parts."""

    owner: nn.Module
    pool_type: str
    eos_id: int | None

    @property
    def width(self) -> int:
        """The width D of its tokens."""
        return self.owner.positional_embedding.shape[1]

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return len(self.owner.transformer.resblocks)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids (B,N) to token embeddings (B,N,D), positions not yet added."""
        return self.owner.token_embedding(ids)


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
    blocks = tower.owner.transformer.resblocks
    if not all(isinstance(block, ResidualAttentionBlock) for block in blocks):
        raise _wrong_tower(backbone, method, "a text tower with custom blocks")
    return tower


def patch_tokens(visual: nn.Module, images: Tensor) -> Tensor:
    """Images (B,C,H,W) to CLS and patch tokens (B,1+N,D), positions added, before `ln_pre`.

    Raises UsageError for images of another size than the tower's.
    """
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


def project_cls(visual: nn.Module, tokens: Tensor) -> Tensor:
    """The last block's tokens (B,N,D) to the CLS token's embedding (B,E)."""
    pooled = visual.ln_post(tokens[:, 0])
    return pooled if visual.proj is None else pooled @ visual.proj


def _same(values: Tensor) -> Tensor:
    return values


def attention_step(
    block: nn.Module, tokens: Tensor, mask: Tensor | None = None, residual: Residual = _same
) -> Tensor:
    """The first half of a block, x + residual(attention(ln_1(x))): tokens (B,N,D) to (B,N,D)."""
    return tokens + residual(block.ls_1(attend(block.attn, block.ln_1(tokens), mask=mask)))


def mlp_step(block: nn.Module, tokens: Tensor, residual: Residual = _same) -> Tensor:
    """The second half of a block, x + residual(mlp(ln_2(x))): tokens (B,N,D) to (B,N,D)."""
    return tokens + residual(block.ls_2(block.mlp(block.ln_2(tokens))))


def whole_block(block: nn.Module, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Tokens (B,N,D) through both halves of a block; mask (N,N) is added to the attention."""
    return mlp_step(block, attention_step(block, tokens, mask))


def pool_text(tower: TextTower, tokens: Tensor, ids: Tensor) -> Tensor:
    """The last text block's tokens (B,N,D) to the end-of-text token's embedding (B,E)."""
    from open_clip.transformer import text_global_pool

    owner = tower.owner
    pooled = text_global_pool(
        owner.ln_final(tokens), ids, tower.pool_type, eos_token_id=tower.eos_id
    )
    if owner.text_projection is None:
        return pooled
    if isinstance(owner.text_projection, nn.Linear):
        return owner.text_projection(pooled)
    return pooled @ owner.text_projection
