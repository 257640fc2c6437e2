"""`vita-clip`: multimodal prompts in two frozen towers.

Wasim et al. 2023, section 3; docs/methods.md#vita-clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.models.adapters.parts.prompts import (
    add_placeholder,
    average_ensembles,
    check_class_count,
    flatten_prompts,
    in_batches,
    initial_context,
    replace_context,
)
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import Adapter, AdapterConfig, Prompts, Trainable
from vclip_cli.models.layers import attend
from vclip_cli.models.tensors import to_device
from vclip_cli.models.towers import (
    attention_step,
    cls_step,
    image_tower,
    mlp_step,
    text_tower,
    without_padding,
)

POSITIONS = ("end", "front", "middle")
INITIAL_LOGIT_SCALE = 1 / 0.07


@dataclass(frozen=True)
class VitaClipConfig(AdapterConfig):
    """The default is the released Kinetics setting, but with a context that all classes share.

    frames: T in training; another T at test time resizes the prompts of each frame.
    global_prompts: tokens a block, 0 for none. local_prompts, summary_token: on or off.
    text_context: learned text tokens, 0 for none. context_words: words that they start from; their
    number is then that of the words. class_specific: a context for each of `classes`, which must be
    named. class_position: where the class name stands: after, before or amid the context.
    """

    frames: int = 8
    global_prompts: int = 8
    local_prompts: bool = True
    summary_token: bool = True
    text_context: int = 8
    context_words: str = ""
    class_specific: bool = False
    classes: tuple[str, ...] = ()
    class_position: Literal["end", "front", "middle"] = "end"

    def __post_init__(self) -> None:
        """Raises SpecError for an unknown position or a negative number."""
        if self.class_position not in POSITIONS:
            raise SpecError(
                f"unknown value {self.class_position!r} of the option 'class_position'",
                hint=did_you_mean(self.class_position, POSITIONS),
            )
        if self.frames < 1 or self.global_prompts < 0 or self.text_context < 0:
            raise SpecError("at least one frame is needed, and no number of tokens is negative")
        if max(self.frames, self.global_prompts, self.text_context) > 4096:
            raise SpecError("more than 4096 frames or tokens are not built")

    @property
    def words(self) -> str:
        """The initial words, blanks between them."""
        return self.context_words.replace("_", " ")

    @property
    def context_length(self) -> int:
        """The number n of learned text tokens."""
        return len(self.words.split(" ")) if self.words else self.text_context


class BlockPrompts(nn.Module):
    """The global, local and summary tokens of one block of the image tower.

    c = Linear(CLS) of the T CLS tokens of a video. The summary tokens are c + MSA(LN(c)) over time,
    the local prompts c + P.
    """

    def __init__(self, width: int, heads: int, patch_area: int, config: VitaClipConfig) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        bound = math.sqrt(6 / (3 * patch_area + width))
        if config.summary_token or config.local_prompts:
            self.cls_projection = nn.Linear(width, width)
        if config.summary_token:
            self.summary_norm = LayerNorm(width)
            self.summary_attention = nn.MultiheadAttention(width, heads, batch_first=True)
            for weight in self.summary_attention.in_proj_weight.data.chunk(3):
                nn.init.xavier_uniform_(weight)
            nn.init.xavier_uniform_(self.summary_attention.out_proj.weight)
        if config.local_prompts:
            self.local_prompts = nn.Parameter(torch.empty(config.frames, width))
            nn.init.uniform_(self.local_prompts, -bound, bound)
        if config.global_prompts:
            self.global_prompts = nn.Parameter(torch.empty(config.global_prompts, width))
            nn.init.uniform_(self.global_prompts, -bound, bound)

    def summarise(self, projected: Tensor) -> Tensor:
        """The projected CLS tokens c (B,T,D) to the summary tokens (B,T,D)."""
        return projected + attend(self.summary_attention, self.summary_norm(projected))


class VitaClipAdapter(Adapter):
    """Prompts on both sides; neither tower trains.

    Inside a block's attention a frame is [CLS, local × T, global × G, patches, summary]. Local and
    summary tokens are dropped before the MLP, global ones after the block. T is the input's.

    The linear map of the CLS tokens trains, as in the paper; the released training code leaves it
    as initialised. The logit scale is the method's own: it starts at 1/0.07 and trains.
    """

    name = "vita-clip"
    summary = "Vita-CLIP: global, local, summary and text prompts in two frozen towers"
    paper = "Wasim et al., CVPR 2023, arXiv 2304.03307"
    Config = VitaClipConfig
    config: VitaClipConfig
    cacheable = "video"
    default_templates = ("{class}.",)

    def __init__(self, backbone: Backbone, config: VitaClipConfig | None = None) -> None:
        super().__init__(backbone, config)
        config = self.config
        if config.class_specific and not config.classes:
            raise UsageError("a class-specific text context needs the names of the classes")
        self.image_tower = tower = image_tower(backbone, self.name)
        self.text_tower = text_tower(backbone, self.name)
        self.time_embedding = nn.Parameter(0.02 * torch.randn(config.frames, tower.width))
        self.prompts = nn.ModuleList(
            BlockPrompts(tower.width, block.attn.num_heads, tower.patch_area, config)
            for block in tower.blocks
        )
        words, length = config.words, config.context_length
        if length:
            start = initial_context(backbone, self.text_tower, words, length, self.tied_classes)
            self.text_context = nn.Parameter(start)
        self.log_logit_scale = nn.Parameter(torch.tensor(math.log(INITIAL_LOGIT_SCALE)))

    @classmethod
    def variants_to_count(
        cls, backbone: Backbone, classes: tuple[str, ...], shots: int
    ) -> dict[str, Adapter]:
        """A context that all classes share, and, as released for Kinetics, one for each class."""
        specific = VitaClipConfig(class_specific=True, classes=classes)
        title = f"{cls.name}, a context for each of {len(classes)} classes"
        return {cls.name: cls(backbone), title: cls(backbone, specific)}

    @property
    def tied_classes(self) -> tuple[str, ...] | None:
        """The classes of a class-specific context."""
        return self.config.classes if self.config.class_specific else None

    @property
    def text_trains(self) -> bool:
        """The context's gradient comes through the text tower."""
        return self.config.context_length > 0

    def trainable(self) -> dict[str, Trainable]:
        """Everything that is not CLIP's."""
        return {
            name: Trainable(parameter)
            for name, parameter in self.named_parameters()
            if not name.startswith("clip.")
        }

    def logit_scale(self) -> Tensor:
        """exp of the method's own logit scale."""
        return self.log_logit_scale.exp()

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to frame embeddings (B,T,E), not normalised; each has seen all T."""
        return self.one_by_one(self._encode_frames, frames)

    def _encode_frames(self, frames: Tensor) -> Tensor:
        tower, show = self.image_tower, self.runner.show
        batch, count = frames.shape[:2]
        tokens = tower.embed(frames.flatten(0, 1))
        times = resize_over_time(self.time_embedding, count).to(tokens.dtype)
        tokens = tokens.unflatten(0, (batch, count)) + times[:, None]
        tokens = show("visual/before_ln_pre", tokens.flatten(0, 1))
        tokens = show("visual/ln_pre", tower.normalise(tokens))
        for index in range(len(self.prompts)):
            tokens = self.runner.run(self._block, index, tokens, count)
        return tower.project(tokens).unflatten(0, (batch, count))

    def _block(self, index: int, tokens: Tensor, count: int) -> Tensor:
        """Tokens (B·T,1+N,D) of `count` frames a video through one block with its prompts."""
        block = self.image_tower.blocks[index]
        cls, patches = tokens[:, :1], tokens[:, 1:]
        locals_, globals_, summary = self._prompts_of(index, cls, count)
        inserted = torch.cat([cls, locals_, globals_, patches, summary], dim=1)
        self.runner.show(f"visual/block{index}/attention_input", inserted)
        is_last = index == len(self.prompts) - 1
        if is_last and self.observe is None and self.image_tower.computes_cls_only:
            return cls_step(block, inserted)
        inserted = attention_step(block, inserted)
        first, last = 1 + locals_.shape[1], inserted.shape[1] - summary.shape[1]
        kept = mlp_step(block, torch.cat([inserted[:, :1], inserted[:, first:last]], dim=1))
        self.runner.show(f"visual/block{index}", kept)
        return torch.cat([kept[:, :1], kept[:, 1 + globals_.shape[1] :]], dim=1)

    def _prompts_of(self, index: int, cls: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """From the CLS tokens (B·T,1,D): local (B·T,T,D), global (B·T,G,D), summary (B·T,1,D)."""
        config, dtype = self.config, cls.dtype
        prompts: Any = self.prompts[index]
        locals_ = globals_ = summary = cls[:, :0]
        if config.summary_token or config.local_prompts:
            projected = prompts.cls_projection(cls.squeeze(1).unflatten(0, (-1, count)))
            self.runner.show(f"visual/block{index}/cls_projection", projected)
        if config.local_prompts:
            own = projected + resize_over_time(prompts.local_prompts, count).to(projected.dtype)
            locals_ = own.to(dtype).repeat_interleave(count, dim=0)
        if config.global_prompts:
            globals_ = prompts.global_prompts.to(dtype).expand(len(cls), -1, -1)
        if config.summary_token:
            summary = prompts.summarise(projected).to(dtype).flatten(0, 1).unsqueeze(1)
        return locals_, globals_, summary

    def tokens_before_patches(self, frames: int) -> int:
        """Local prompts, one a frame, and global ones."""
        return self.config.local_prompts * frames + self.config.global_prompts

    def encode_video(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to L2-normalised video embeddings (B,E)."""
        return normalize(self.encode_frames(frames).float().mean(dim=1), dim=-1)

    def encode_text(self, prompts: Prompts) -> Tensor:
        """K prompt lists, without context, to L2-normalised class embeddings (K,E).

        Raises ComparisonRefused where the context is class-specific and K is another. A prompt's
        final full stop does not belong to the class name.
        """
        config = self.config
        check_class_count(prompts, self.tied_classes)
        flat, lengths = flatten_prompts(prompts)
        full = [add_placeholder(prompt, config.words, config.context_length) for prompt in flat]
        ids = self.backbone.tokenize(full)
        classes = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
        embeddings = in_batches(
            lambda part: self._encode_ids(ids[part], flat[part], classes[part]), len(ids)
        )
        return average_ensembles(self.runner.show("text/embeddings", embeddings), lengths)

    def _encode_ids(self, ids: Tensor, prompts: Sequence[str], classes: Tensor) -> Tensor:
        tower = self.text_tower
        if self.observe is None:
            ids = without_padding(tower, ids)
        ids = to_device(ids, self.device)
        tokens = tower.embed(ids)
        if self.config.context_length:
            context: Tensor = self.text_context
            if context.ndim == 3:
                context = context[to_device(classes, self.device)]
            tokens = self._move_name(replace_context(tokens, context), prompts)
        self.runner.show("text/input", tokens)
        return tower.encode(tokens, ids, self.runner)

    def _move_name(self, tokens: Tensor, prompts: Sequence[str]) -> Tensor:
        """Move the class name before, or amid, the context: tokens (B,N,D) in another order."""
        if self.config.class_position == "end":
            return tokens
        if not hasattr(self.backbone.tokenizer, "encode"):
            raise UsageError(
                "the backbone's tokenizer does not tell how long a class name is",
                hint="use the option class_position=end",
            )
        length = self.config.context_length
        before = length // 2 if self.config.class_position == "middle" else 0
        moved = []
        for row, prompt in zip(tokens, prompts, strict=True):
            name = len(self.backbone.tokenizer.encode(prompt.removesuffix(".")))
            start, end = 1 + length, 1 + length + name
            parts = [row[: 1 + before], row[start:end], row[1 + before : start], row[end:]]
            moved.append(torch.cat(parts))
        return torch.stack(moved)

    def score(self, video: Tensor, text: Tensor) -> Tensor:
        """Video embeddings (B,E) and class embeddings (K,E) to logits (B,K)."""
        with torch.autocast(video.device.type, enabled=False):
            return self.logit_scale().float() * video.float() @ text.float().T


def resize_over_time(values: Tensor, count: int) -> Tensor:
    """Learned values of each frame (T,D) for `count` frames, by nearest neighbour: (count,D)."""
    if len(values) == count:
        return values
    return interpolate(values.T[None], size=count, mode="nearest")[0].T
