"""`x-clip`: cross-frame attention, multi-frame integration, video-specific prompts.

Ni et al. 2022, sections 3.2 and 3.3; docs/methods.md#x-clip.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vclip_cli.common.errors import SpecError, UsageError
from vclip_cli.models.adapters.parts.prompts import encode_prompts, flatten_prompts
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import Adapter, AdapterConfig, Prompts, Trainable
from vclip_cli.models.layers import attend, attend_by_heads, heads_for
from vclip_cli.models.towers import attention_step, image_tower, mlp_step, whole_block


@dataclass(frozen=True)
class XClipConfig(AdapterConfig):
    """The paper's setting is the default.

    frames: T; the integration's table of positions ties the weights to it. integration_layers:
    layers of the multi-frame integration transformer. prompt_layers, prompt_scale: layers of the
    video-specific prompts, and their initial α. drop_path: of the last block, rising linearly from
    0 at the first.
    """

    frames: int = 8
    integration_layers: int = 1
    prompt_layers: int = 2
    prompt_scale: float = 0.1
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        """Raises SpecError for an impossible number of frames or layers."""
        if self.frames < 1 or self.integration_layers < 0 or self.prompt_layers < 0:
            raise SpecError("frames must be at least 1, and numbers of layers not negative")
        if self.frames > 4096 or max(self.integration_layers, self.prompt_layers) > 64:
            raise SpecError("more than 4096 frames or 64 layers are not built")
        if not 0 <= self.drop_path < 1:
            raise SpecError("the option 'drop_path' must be at least 0 and below 1")


class Message(nn.Module):
    """The message tokens of a block: m = Linear(CLS), then m + MSA(LN(m)) over the T frames."""

    def __init__(self, width: int, heads: int) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        self.projection = nn.Linear(width, width)
        self.norm = LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, cls: Tensor, residual: nn.Module) -> Tensor:
        """CLS tokens (B,T,D) to message tokens (B,T,D)."""
        message = self.projection(cls)
        return message + residual(attend(self.attention, self.norm(message)))


class CrossAttention(nn.Module):
    """Multi-head attention whose query, key and value maps have no bias, while its output has."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor) -> Tensor:
        """Queries (B,K,E) and context (B,N,E) to (B,K,E)."""
        mixed = attend_by_heads(
            self.query(queries), self.key(context), self.value(context), self.heads
        )
        return self.out(mixed)


class PromptLayer(nn.Module):
    """t + CrossAttn(LN(t), c), then t + MLP(LN(t))."""

    def __init__(self, width: int, heads: int) -> None:
        from open_clip.transformer import LayerNorm, QuickGELU

        super().__init__()
        self.attention_norm = LayerNorm(width)
        self.attention = CrossAttention(width, heads)
        self.mlp_norm = LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), QuickGELU(), nn.Linear(4 * width, width)
        )

    def forward(self, text: Tensor, context: Tensor) -> Tensor:
        """Text features (B,K,E) and video context (B,N,E) to (B,K,E)."""
        text = text + self.attention(self.attention_norm(text), context)
        return text + self.mlp(self.mlp_norm(text))


class XClipAdapter(Adapter):
    """The image tower trains with new parts inside and above it; the text tower is frozen.

    Every video has its own text features, which `score` computes. New parts learn at ten times the
    base rate; biases, 1-D tensors and tables of positions do not decay, as in the authors'
    optimizer.
    """

    name = "x-clip"
    summary = "X-CLIP: cross-frame attention, multi-frame integration, video-specific prompts"
    paper = "Ni et al., ECCV 2022, arXiv 2208.02816"
    Config = XClipConfig
    config: XClipConfig
    cacheable = "video"
    default_templates = ("{class}",)
    learning_rate_factors: ClassVar[dict[str, float]] = {"base": 1.0, "new": 10.0}

    def __init__(self, backbone: Backbone, config: XClipConfig | None = None) -> None:
        from open_clip.transformer import LayerNorm, QuickGELU, ResidualAttentionBlock
        from timm.layers import DropPath

        super().__init__(backbone, config)
        config = self.config
        self.image_tower = tower = image_tower(backbone, self.name)
        width, embedding = tower.width, backbone.embedding_width
        heads, depth = heads_for(embedding), len(tower.blocks)
        self.messages = nn.ModuleList(
            Message(width, block.attn.num_heads) for block in tower.blocks
        )
        step = config.drop_path / max(1, depth - 1)
        self.drop_paths = nn.ModuleList(DropPath(step * index) for index in range(depth))

        self.integration_positions = nn.Parameter(torch.zeros(config.frames, embedding))
        nn.init.trunc_normal_(self.integration_positions, std=0.02)
        self.integration = nn.ModuleList(
            ResidualAttentionBlock(embedding, heads, act_layer=QuickGELU)
            for _ in range(config.integration_layers)
        )
        self.context_norm = LayerNorm(width)
        self.context_projection = nn.Parameter(torch.randn(width, embedding))
        self.prompt_norm = LayerNorm(embedding)
        self.prompt_layers = nn.ModuleList(
            PromptLayer(embedding, heads) for _ in range(config.prompt_layers)
        )
        self.prompt_scale = nn.Parameter(torch.full((embedding,), config.prompt_scale))
        for part in (self.integration, self.prompt_layers):
            part.apply(_initialise_linear)

    @property
    def tied_frames(self) -> int | None:
        """T of the integration's table of positions."""
        return self.config.frames

    def trainable(self) -> dict[str, Trainable]:
        """The image tower in group `base`, the new parts in group `new`."""
        return {
            name: Trainable(
                parameter,
                group="base" if name.startswith("clip.") else "new",
                decay=parameter.ndim > 1
                and not name.endswith(("positional_embedding", "integration_positions")),
            )
            for name, parameter in self.named_parameters()
            if not name.startswith("clip.") or name.startswith("clip.visual.")
        }

    def encode_text(self, prompts: Prompts) -> Tensor:
        """K prompt lists to class features (K,E), not normalised; an ensemble's are averaged."""
        flat, lengths = flatten_prompts(prompts)
        features = encode_prompts(self.backbone, flat).float()
        if all(length == 1 for length in lengths):
            return features
        return torch.stack([group.mean(dim=0) for group in features.split(lengths)])

    def encode_frames(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (B,T,C,H,W) to CLS embeddings (B,T,E) and context (B,N,E), the mean over T.

        Raises UsageError for another T than the weights are tied to.
        """
        batch, count = frames.shape[:2]
        if count != self.config.frames:
            raise UsageError(
                "X-CLIP's weights are tied to their number of frames by its positional table",
                found=f"{count} frames",
                expected=f"{self.config.frames} frames",
                hint=f"sample with --frames {self.config.frames}, or name another checkpoint",
            )
        tower, runner = self.image_tower, self.runner
        tokens = runner.show("visual/ln_pre", tower.normalise(tower.embed(frames.flatten(0, 1))))
        for index in range(len(tower.blocks)):
            tokens = runner.show(f"visual/block{index}", runner.run(self._block, index, tokens))
        embeddings = tower.project(tokens).unflatten(0, (batch, count))
        context = self.context_norm(tokens[:, 1:]) @ self.context_projection
        return embeddings, context.unflatten(0, (batch, count)).mean(dim=1)

    def _block(self, index: int, tokens: Tensor) -> Tensor:
        """Tokens (B·T,1+N,D) through one block; only its attention sees the frame's message."""
        block, drop = self.image_tower.blocks[index], self.drop_paths[index]
        cls = tokens[:, 0].unflatten(0, (-1, self.config.frames))
        message = self.messages[index](cls, drop)
        self.runner.show(f"visual/block{index}/message", message)
        joined = torch.cat([tokens, message.flatten(0, 1).unsqueeze(1).to(tokens.dtype)], dim=1)
        joined = attention_step(block, joined, residual=drop)
        return mlp_step(block, joined[:, :-1], residual=drop)

    def integrate(self, embeddings: Tensor) -> Tensor:
        """CLS embeddings (B,T,E) to video embeddings (B,E), not normalised, float32."""
        embeddings = embeddings.float()
        tokens = embeddings + self.integration_positions
        for index, block in enumerate(self.integration):
            tokens = self.runner.run(whole_block, block, tokens)
            self.runner.show(f"integration/block{index}", tokens)
        return (tokens + embeddings).mean(dim=1)

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to (B,1+N,E): the video's embedding, then its context for the text.

        Not normalised, float32. Raises UsageError for another T.
        """
        return self.one_by_one(self._encode_video, frames)

    def _encode_video(self, frames: Tensor) -> Tensor:
        embeddings, context = self.encode_frames(frames)
        return torch.cat([self.integrate(embeddings).unsqueeze(1), context.float()], dim=1)

    def embedding(self, video: Tensor) -> Tensor:
        """The video's embedding (B,E), without its context."""
        return video[:, 0]

    def prompt_offset(self, text: Tensor, context: Tensor) -> Tensor:
        """Class features (K,E) and context (B,N,E) to each video's addition to them (B,K,E)."""
        context = self.prompt_norm(context)
        prompted = text.expand(len(context), -1, -1)
        for layer in self.prompt_layers:
            prompted = layer(prompted, context)
        return self.prompt_scale * prompted

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Videos (B,1+N,E) and class features (K,E) to logits (B,K)."""
        video, text = video.float(), text.float()
        offset = self.runner.show("text/offset", self.prompt_offset(text, video[:, 1:]))
        with torch.autocast(video.device.type, enabled=False):
            features = normalize(text + offset.float(), dim=-1)
            embedding = normalize(video[:, 0], dim=-1)
            return self.logit_scale().float() * torch.einsum("be,bke->bk", embedding, features)


def _initialise_linear(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
