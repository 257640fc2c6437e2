"""`ov-multilabel`: open-vocabulary multi-label recognition (METHODS section 6).

No code of the paper was released, and its full text was not at hand. What its abstract and public
summaries state, what is our reading, and what they do not say:

- stated: a label encoder (class name after learned prefixes → frozen language model → trained
  prompting transformer → soft prompts for the frozen CLIP text tower), trained end to end; temporal
  attention beside the spatial attention of CLIP's image tower; a regularised finetuning; label
  embeddings that are computed once and stored; p(l|v) = sigmoid(s(l,v) / tau).
- our reading: binary cross-entropy; a gate that starts at zero on the temporal branch and on the
  attributes, so that training starts at CLIP exactly; the attributes are added to the words "a
  photo of a" before the class name; the regulariser is 1 - cosine to frozen CLIP's own embedding
  of the video; tau is 1/exp(logit_scale), starts at CLIP's and trains; a bias before the sigmoid.
- not known: the language model and all sizes, the numbers of tokens and layers, the weight of the
  regulariser, tau, negatives, every training setting. The defaults here are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

from vclip_cli.common.errors import SpecError, UsageError, WeightsError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Trainable
from vclip_cli.models.label_encoder import PromptingTransformer
from vclip_cli.models.language_model import LanguageModel, load_language_model
from vclip_cli.models.prompts import average_ensembles, flatten_prompts
from vclip_cli.models.shortcuts import (
    causal_mask,
    cls_step,
    end_step,
    one_by_one,
    without_padding,
)
from vclip_cli.models.temporal_branch import TemporalBranch
from vclip_cli.models.tensors import to_device
from vclip_cli.models.towers import (
    attention_step,
    image_tower,
    mlp_step,
    patch_tokens,
    project_cls,
    text_tower,
    whole_block,
)

CONTEXT = "a photo of a"
"""The words before the class name; the attributes are added to the last of them."""
NO_MODEL = "none"
CHUNK = 64
"""Labels encoded at once: with recomputation on the way back it bounds the memory, whatever K."""


@dataclass(frozen=True)
class OvMultilabelConfig(AdapterConfig):
    """The sizes are ours: the paper's are not known.

    language_model: a Hugging Face causal language model by name or folder. With `none` the
    prompting transformer reads CLIP's own token embeddings of the class name. It is the default
    because the paper's model is not known, and nothing is to be downloaded unasked.
    language_model_precision: fp32, bf16 or fp16. prefixes: learned tokens before the class name in
    the language model. attributes: soft tokens, 0 for the plain class prompt. prompting_layers: of
    the prompting transformer. temporal: the temporal branch. temporal_blocks: in how many of the
    last blocks, 0 for all. temporal_places: attention over time at `all` places of a frame, or for
    the `cls` token alone. regularisation: the weight of the distance to frozen CLIP, 0 for none.
    frames: T of the learned time positions. language_model_sha256, language_model_width: identify
    the language model; found when it is loaded, and checked wherever a checkpoint is used.
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
        """Raises SpecError for a value that cannot be."""
        for option in ("prefixes", "attributes", "prompting_layers", "temporal_blocks"):
            _require_number(option, getattr(self, option), int)
        _require_number("regularisation", self.regularisation, (int, float))
        if self.frames < 1:
            raise SpecError("the option 'frames' is at least 1")
        if self.temporal_places not in ("all", "cls"):
            raise SpecError(
                f"unknown value {self.temporal_places!r} of the option 'temporal_places'",
                expected="all or cls",
            )
        if not isinstance(self.temporal, bool):
            raise SpecError("the option 'temporal' is true or false", found=str(self.temporal))

    @property
    def reads_language_model(self) -> bool:
        """Whether a language model is part of the label encoder."""
        return bool(self.attributes) and self.language_model != NO_MODEL


def _require_number(option: str, value: object, kinds: type | tuple[type, ...]) -> None:
    if not isinstance(value, kinds) or isinstance(value, bool) or value < 0:
        raise SpecError(f"the option {option!r} is a number, and not negative", found=repr(value))


class OvMultilabelAdapter(ClipAdapter):
    """Both towers and the language model are frozen; the parts between and beside them train.

    At the start, with all gates at zero, and for good with `temporal=false` and `attributes=0`, the
    logits are those of `clip` with the template "a photo of a {class}.". Prompts are given without
    that context ("{class}."). With more attributes than words, an "X" stands for each further one.
    """

    name = "ov-multilabel"
    summary = "Open-vocabulary multi-label: attributes from a language model, gated temporal branch"
    paper = "Gupta et al., ECCV 2024, arXiv 2407.09073"
    Config = OvMultilabelConfig
    cacheable = "none"
    default_templates = ("{class}.",)
    learning_rate_factors = {"video": 1.0, "labels": 1.0}  # noqa: RUF012 - as the contract declares

    def __init__(self, backbone: Backbone, config: OvMultilabelConfig | None = None) -> None:
        super().__init__(backbone, config)
        visual = image_tower(backbone, self.name)
        self.text_tower = text_tower(backbone, self.name)
        self._language_model: LanguageModel | None = None
        self._strength = 1.0
        if self.config.reads_language_model and not self.config.language_model_sha256:
            identity = self.language_model.identity
            self.config = replace(
                self.config,
                language_model_sha256=identity.sha256,
                language_model_width=identity.width,
            )
        self.log_scale = nn.Parameter(self.clip.logit_scale.detach().clone().float())
        if self.config.attributes:
            self._build_label_encoder()
        blocks = visual.transformer.resblocks
        if self.config.temporal:
            chosen = min(self.config.temporal_blocks or len(blocks), len(blocks))
            width = visual.class_embedding.shape[0]
            self.branches = nn.ModuleList(
                TemporalBranch(
                    width,
                    block.attn.num_heads,
                    self.config.frames,
                    cls_only=self.config.temporal_places == "cls",
                )
                for block in blocks[-chosen:]
            )

    def _build_label_encoder(self) -> None:
        config, width = self.config, self.text_tower.width
        states_width = config.language_model_width if config.reads_language_model else width
        self.prompting = PromptingTransformer(
            states_width, width, config.attributes, config.prompting_layers
        )
        if config.reads_language_model and config.prefixes:
            self.prefixes = nn.Parameter(0.02 * torch.randn(config.prefixes, states_width))

    @property
    def language_model(self) -> LanguageModel:
        """The frozen language model, loaded when it is first needed.

        Raises WeightsError where it is another than the checkpoint was trained with.
        """
        if self._language_model is None:
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
            # Kept out of the module's own parts: it is neither trained nor stored.
            object.__setattr__(self, "_language_model", model)
        return self._language_model.to(self.device)  # type: ignore[union-attr]

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
        """Set all gates to alpha times what was trained: 0 is CLIP as it was, 1 the trained model.

        The towers never change and the gates start at zero, so this is the interpolation between
        the original and the trained weights. Raises UsageError for a value outside 0..1.
        """
        if not 0 <= alpha <= 1:
            raise UsageError("weights interpolate between 0 and 1", found=str(alpha))
        self._strength = alpha

    # --- labels

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Tensor:
        """K prompt lists, without context, to L2-normalised label embeddings (K,E).

        Encoded in chunks; in training each chunk is computed again on the way back, so that memory
        grows by an embedding a label and no more. Raises UsageError for an empty label.
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
        tokens = tokens + tower.owner.positional_embedding[: ids.shape[1]].to(tokens.dtype)
        *blocks, last = tower.owner.transformer.resblocks
        for block in blocks:
            tokens = whole_block(block, tokens, causal_mask(tower, ids))
        return end_step(tower, last, tokens, ids).float()

    def attributes(self, prompts: Sequence[str]) -> Tensor:
        """K prompts without context to attribute tokens (K,A,D), the gate applied."""
        names = [prompt.strip(" .") for prompt in prompts]
        if self.config.reads_language_model:
            states, mask = self._read_language_model(names)
        else:
            ids = to_device(self.backbone.tokenize(names), self.device)
            states, mask = self.text_tower.embed(ids), ids != 0
        return self.prompting(states, mask)

    def _read_language_model(self, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        model = self.language_model
        ids, mask = model.tokenize(names, self.config.prefixes)
        before = (
            self.prefixes
            if self.config.prefixes
            else torch.zeros(0, self.config.language_model_width, device=self.device)
        )
        return model(to_device(ids, self.device), to_device(mask, self.device), before)

    # --- videos

    def encode_frames(self, frames: Tensor) -> Tensor:
        """Frames (B,T,C,H,W) to frame embeddings (B,T,E), not normalised; each has seen all T."""
        if not self.config.temporal:
            return super().encode_frames(frames)
        return one_by_one(self, self._encode_with_branches, frames)

    def _encode_with_branches(self, frames: Tensor) -> Tensor:
        visual, count = self.clip.visual, frames.shape[1]
        tokens = visual.ln_pre(patch_tokens(visual, frames.flatten(0, 1)))
        *blocks, last = visual.transformer.resblocks
        plain = len(blocks) + 1 - len(self.branches)
        for index, block in enumerate(blocks):
            branch = self.branches[index - plain] if index >= plain else None
            tokens = self._run(self._block, block, branch, tokens, count)
        tokens = self._run(self._last_block, last, self.branches[-1], tokens, count)
        return project_cls(visual, tokens).unflatten(0, frames.shape[:2])

    def _block(
        self, block: nn.Module, branch: TemporalBranch | None, tokens: Tensor, count: int
    ) -> Tensor:
        attended = attention_step(block, tokens)
        if branch is not None:
            attended = attended + self._strength * branch(tokens, count)
        return mlp_step(block, attended)

    def _last_block(
        self, block: nn.Module, branch: TemporalBranch, tokens: Tensor, count: int
    ) -> Tensor:
        """The CLS token alone: no other comes out of the last block."""
        return cls_step(block, tokens, self._strength * branch(tokens[:, :1], count))

    def penalty(self, frames: Tensor, video: Tensor) -> Tensor | None:
        """The regulariser: weight times (1 - cosine) to frozen CLIP's own embedding, (B,)."""
        if not self.config.temporal or not self.config.regularisation:
            return None
        with torch.no_grad():
            own = self.pool_frames(super().encode_frames(frames))
        return self.config.regularisation * (1 - (normalize(video, dim=-1) * own).sum(dim=-1))


def _is_token(name: str) -> bool:
    return name.endswith(("prefixes", "queries", "gate", "times"))
