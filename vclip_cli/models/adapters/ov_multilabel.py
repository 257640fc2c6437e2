"""`ov-multilabel`: open-vocabulary multi-label recognition.

Gupta et al. 2024. No code of the paper was released, and its full text was not at hand:
docs/methods.md#ov-multilabel tells what the abstract states, what is our reading, and what is not
known. All sizes are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize
from torch.utils.checkpoint import checkpoint

from vclip_cli.common.errors import SpecError, UsageError, WeightsError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.parts.label_encoder import PromptingTransformer
from vclip_cli.models.adapters.parts.language_model import LanguageModel, load_language_model
from vclip_cli.models.adapters.parts.prompts import average_ensembles, flatten_prompts
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Prompts, Trainable, check_kind
from vclip_cli.models.layers import attend
from vclip_cli.models.tensors import to_device
from vclip_cli.models.towers import (
    BlockRunner,
    attention_step,
    cls_step,
    image_tower,
    mlp_step,
    text_tower,
    without_padding,
)

CONTEXT = "a photo of a"
"""The words before the class name; the attributes are added to the last of them."""
NO_MODEL = "none"
CHUNK = 64
"""Labels encoded at once; with recomputation in the backward pass it bounds the memory."""


@dataclass(frozen=True)
class OvMultilabelConfig(AdapterConfig):
    """The sizes are ours: the paper's are not known.

    language_model: a Hugging Face causal language model by name or folder. With `none` the
    prompting transformer reads CLIP's own token embeddings of the class name. `none` is the default
    because the paper's model is not known, and nothing is downloaded unless it is asked for.
    language_model_precision: fp32, bf16 or fp16. prefixes: learned tokens before the class name in
    the language model. attributes: soft tokens, 0 for the plain class prompt. prompting_layers:
    layers of the prompting transformer. temporal: the temporal branch. temporal_blocks: in how many
    of the last blocks, 0 for all. temporal_places: attention over time at `all` places of a frame,
    or for the `cls` token alone. regularisation: the weight of the distance to frozen CLIP, 0 for
    none. frames: T of the learned time positions. language_model_sha256, language_model_width: they
    identify the language model; found when it is loaded, and checked where a checkpoint is used.
    """

    language_model: str = NO_MODEL
    language_model_precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    prefixes: int = 4
    attributes: int = 4
    prompting_layers: int = 2
    temporal: bool = True
    temporal_blocks: int = 0
    temporal_places: Literal["all", "cls"] = "all"
    regularisation: float = 1.0
    frames: int = 8
    language_model_sha256: str = ""
    language_model_width: int = 0

    def __post_init__(self) -> None:
        """Raises SpecError for an impossible value."""
        for field in fields(self):
            check_kind(field.name, getattr(self, field.name), field.default)
        sizes = ("prefixes", "attributes", "prompting_layers", "temporal_blocks", "regularisation")
        for option in sizes:
            if getattr(self, option) < 0:
                raise SpecError(f"the option {option!r} cannot be negative")
        if self.frames < 1:
            raise SpecError("the option 'frames' is at least 1")
        if self.temporal_places not in ("all", "cls"):
            raise SpecError(
                f"unknown value {self.temporal_places!r} of the option 'temporal_places'",
                expected="all or cls",
            )

    @property
    def uses_language_model(self) -> bool:
        """Whether a language model is part of the label encoder."""
        return bool(self.attributes) and self.language_model != NO_MODEL


class TemporalBranch(nn.Module):
    """Attention over time beside a frozen image block, behind a gate that starts at zero.

    Each place of the frame attends over the T tokens at that place. frames: T of the learned time
    positions, which are interpolated linearly for another T. cls_only: attention over the CLS
    tokens alone; nothing is added to the patches.
    """

    def __init__(self, width: int, heads: int, frames: int, *, cls_only: bool = False) -> None:
        from open_clip.transformer import LayerNorm

        super().__init__()
        self.cls_only = cls_only
        self.norm = LayerNorm(width)
        self.times = nn.Parameter(0.5 * torch.randn(frames, width))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.gate = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor, count: int) -> Tensor:
        """Tokens (B·T,N,D) of `count` frames a video to their addition, of the same shape."""
        chosen = tokens[:, :1] if self.cls_only else tokens
        by_video = chosen.unflatten(0, (-1, count))  # (B,T,N,D)
        batch, _, places, width = by_video.shape
        sequences = by_video.transpose(1, 2).reshape(batch * places, count, width)
        normalised = self.norm(sequences) + self._times_for(count).to(sequences.dtype)
        attended = attend(self.attention, normalised)
        gated = self.gate.to(attended.dtype) * attended
        added = gated.reshape(batch, places, count, width).transpose(1, 2).flatten(0, 1)
        if not self.cls_only:
            return added
        return torch.cat([added, torch.zeros_like(tokens[:, 1:])], dim=1)

    def _times_for(self, count: int) -> Tensor:
        """The time positions of `count` frames (count,D)."""
        if len(self.times) == count:
            return self.times
        times = self.times.T[None]
        return interpolate(times, size=count, mode="linear", align_corners=False)[0].T


class OvMultilabelAdapter(ClipAdapter):
    """Both towers and the language model are frozen; the parts between and beside them train.

    While all gates are zero, as before training, and always with `temporal=false` and
    `attributes=0`, the logits are those of `clip` with the template "a photo of a {class}.".
    Prompts are given without these words ("{class}."). With more attributes than words, an "X"
    stands before them for each further one.
    """

    name = "ov-multilabel"
    summary = "Open-vocabulary multi-label: attributes from a language model, gated temporal branch"
    paper = "Gupta et al., ECCV 2024, arXiv 2407.09073"
    Config = OvMultilabelConfig
    config: OvMultilabelConfig
    cacheable = "none"
    default_templates = ("{class}.",)
    learning_rate_factors: ClassVar[dict[str, float]] = {"video": 1.0, "labels": 1.0}

    def __init__(self, backbone: Backbone, config: OvMultilabelConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.image_tower = image_tower(backbone, self.name)
        self.text_tower = text_tower(backbone, self.name)
        self._language_model: LanguageModel | None = None
        self._strength = 1.0
        if self.config.uses_language_model and not self.config.language_model_sha256:
            identity = self.language_model.identity
            self.config = replace(
                self.config,
                language_model_sha256=identity.sha256,
                language_model_width=identity.width,
            )
        self.log_scale = nn.Parameter(self.clip.logit_scale.detach().clone().float())
        if self.config.attributes:
            self._build_label_encoder()
        if self.config.temporal:
            blocks = self.image_tower.blocks
            chosen = min(self.config.temporal_blocks or len(blocks), len(blocks))
            cls_only = self.config.temporal_places == "cls"
            self.branches = nn.ModuleList(
                TemporalBranch(
                    self.image_tower.width,
                    block.attn.num_heads,
                    self.config.frames,
                    cls_only=cls_only,
                )
                for block in blocks[-chosen:]
            )

    def _build_label_encoder(self) -> None:
        config, width = self.config, self.text_tower.width
        states_width = config.language_model_width if config.uses_language_model else width
        self.prompting = PromptingTransformer(
            states_width, width, config.attributes, config.prompting_layers
        )
        if config.uses_language_model and config.prefixes:
            self.prefixes = nn.Parameter(0.02 * torch.randn(config.prefixes, states_width))

    @property
    def language_model(self) -> LanguageModel:
        """The frozen language model, loaded when it is first needed.

        Raises WeightsError where the checkpoint was trained with another one.
        """
        model = self._language_model
        if model is None:
            config = self.config
            model = load_language_model(config.language_model, config.language_model_precision)
            wanted = config.language_model_sha256
            if wanted and model.identity.sha256 != wanted:
                raise WeightsError(
                    "the language model is not the one that the checkpoint was trained with",
                    where=config.language_model,
                    found=model.identity.sha256[:12],
                    expected=wanted[:12],
                    hint="say where the right one lies with the variable VCLIP_LANGUAGE_MODEL",
                )
            # No submodule of the adapter: the language model neither trains nor is stored.
            object.__setattr__(self, "_language_model", model)
        return model.to(self.device)

    @property
    def text_trains(self) -> bool:
        """The attributes' gradient comes through the text tower."""
        return self.config.attributes > 0

    def trainable(self) -> dict[str, Trainable]:
        """Everything that is not CLIP's, in the groups `video` and `labels`.

        Gates, norms, biases and learned tokens do not decay.
        """
        return {
            name: Trainable(
                parameter,
                group="video" if name.startswith("branches.") else "labels",
                decay=parameter.ndim > 1 and not _is_token(name),
            )
            for name, parameter in self.named_parameters()
            if not name.startswith("clip.")
        }

    def logit_scale(self) -> Tensor:
        """1 / tau of the paper's p(l|v) = sigmoid(s(l,v) / tau); starts at CLIP's own scale."""
        return self.log_scale.exp()

    def interpolate(self, alpha: float) -> None:
        """Scale all gates by alpha: 0 is the original CLIP, 1 the trained model.

        The towers are frozen and the gates start at zero, so this interpolates between the original
        and the trained weights. Raises UsageError for a value outside 0..1.
        """
        if not 0 <= alpha <= 1:
            raise UsageError("weights interpolate between 0 and 1", found=str(alpha))
        self._strength = alpha

    # Labels ---------------------------------------------------------------------------------------

    def encode_text(self, prompts: Prompts) -> Tensor:
        """K prompt lists, without context, to L2-normalised label embeddings (K,E).

        Labels are encoded in chunks. Training computes each chunk again in the backward pass, so
        that a further label costs the memory of its embedding only. Raises UsageError for an empty
        label.
        """
        flat, lengths = flatten_prompts(prompts)
        for prompt in flat:
            if not prompt.strip(" ."):
                raise UsageError("a label is empty", found=repr(prompt))
        ids = self.backbone.tokenize([self._complete(prompt) for prompt in flat])
        parts = []
        for start in range(0, len(flat), CHUNK):
            part = slice(start, start + CHUNK)
            if self.text_trains and torch.is_grad_enabled():
                encoded = checkpoint(self._encode, ids[part], flat[part], use_reentrant=False)
            else:
                encoded = self._encode(ids[part], flat[part])
            parts.append(encoded)
        return average_ensembles(torch.cat(parts), lengths)

    def _complete(self, prompt: str) -> str:
        further = max(0, self.config.attributes - len(CONTEXT.split()))
        return " ".join([*["X"] * further, CONTEXT, prompt])

    def _encode(self, ids: Tensor, prompts: Sequence[str]) -> Tensor:
        """Token ids (K,N) of whole prompts, and the prompts without context, to (K,E)."""
        tower = self.text_tower
        ids = to_device(without_padding(tower, ids), self.device)
        tokens = tower.embed(ids)
        if self.config.attributes:
            attributes = self._strength * self.attributes(prompts)
            count = attributes.shape[1]
            end = 1 + max(count, len(CONTEXT.split()))
            place = tokens[:, end - count : end] + attributes.to(tokens.dtype)
            tokens = torch.cat([tokens[:, : end - count], place, tokens[:, end:]], dim=1)
        return tower.encode(tokens, ids, BlockRunner()).float()

    def attributes(self, prompts: Sequence[str]) -> Tensor:
        """K prompts without context to attribute tokens (K,A,D), the gate applied."""
        names = [prompt.strip(" .") for prompt in prompts]
        if self.config.uses_language_model:
            states, mask = self._states_of(names)
        else:
            ids = to_device(self.backbone.tokenize(names), self.device)
            states, mask = self.text_tower.embed(ids), ids != 0
        return self.prompting(states, mask)

    def _states_of(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        model = self.language_model
        ids, mask = model.tokenize(names, self.config.prefixes)
        before = (
            self.prefixes
            if self.config.prefixes
            else torch.zeros(0, self.config.language_model_width, device=self.device)
        )
        return model(to_device(ids, self.device), to_device(mask, self.device), before)

    # Videos ---------------------------------------------------------------------------------------

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to frame embeddings (B,T,E), not normalised; each has seen all T."""
        if not self.config.temporal:
            return super().encode_frames(frames)
        return self.one_by_one(self._encode_with_branches, frames)

    def _encode_with_branches(self, frames: Tensor) -> Tensor:
        tower, count = self.image_tower, frames.shape[1]
        tokens = tower.normalise(tower.embed(frames.flatten(0, 1)))
        plain = len(tower.blocks) - len(self.branches)
        for index in range(len(tower.blocks)):
            branch = self.branches[index - plain] if index >= plain else None
            tokens = self.runner.run(self._block, index, branch, tokens, count)
        return tower.project(tokens).unflatten(0, frames.shape[:2])

    def _block(
        self, index: int, branch: TemporalBranch | None, tokens: Tensor, count: int
    ) -> Tensor:
        """Tokens (B·T,N,D) through one block and its branch; the last block gives the CLS token."""
        block = self.image_tower.blocks[index]
        if branch is None:
            return mlp_step(block, attention_step(block, tokens))
        if index == len(self.image_tower.blocks) - 1:
            return cls_step(block, tokens, self._strength * branch(tokens[:, :1], count))
        attended = attention_step(block, tokens)
        return mlp_step(block, attended + self._strength * branch(tokens, count))

    def penalty(self, frames: Tensor, video: Tensor) -> Tensor | None:
        """The regulariser (B,): weight times (1 - cosine) to the embedding of frozen CLIP."""
        if not self.config.temporal or not self.config.regularisation:
            return None
        with torch.no_grad():
            own = self.pool_frames(super().encode_frames(frames))
        return self.config.regularisation * (1 - (normalize(video, dim=-1) * own).sum(dim=-1))


def _is_token(name: str) -> bool:
    return name.endswith(("prefixes", "queries", "gate", "times"))
