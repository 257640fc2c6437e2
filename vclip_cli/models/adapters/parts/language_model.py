"""A frozen causal language model, which is used for its hidden states.

Only .safetensors weights are read, and no code of a model's repository is run. Shapes: K labels,
P prefix tokens, L tokens of the longest label, W the language model's width.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import SpecError, UsageError, WeightsError, did_you_mean
from vclip_cli.common.files import sha256_bytes, sha256_json
from vclip_cli.models.tensors import tensors_sha256

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PLACE = "VCLIP_LANGUAGE_MODEL"
"""Environment variable with the folder of a checkpoint's language model, if it was moved."""


@dataclass(frozen=True)
class LanguageModelIdentity:
    """What a checkpoint holds instead of the model: a hash of weights and tokenizer, a width."""

    sha256: str
    width: int


class LanguageModel(nn.Module):
    """The model without its output layer, always in eval mode; none of its tensors trains."""

    body: Any

    def __init__(self, body: nn.Module, tokenizer: Any, identity: LanguageModelIdentity) -> None:
        super().__init__()
        self.body = body.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.identity = identity
        self.max_length = _max_length(body)

    def train(self, mode: bool = True) -> LanguageModel:
        """Stays in eval mode: with dropout, the same label would get other states each time."""
        return super().train(False)

    def tokenize(self, names: Sequence[str], prefixes: int) -> tuple[Tensor, Tensor]:
        """K names to token ids (K,L) and a mask (K,L), padded at the end.

        Padding is masked, so that the tokenizer needs no padding token. A name that is too long for
        the model's context, after `prefixes` tokens, is cut at the end. Raises UsageError for a
        name without a token.
        """
        rows = self.tokenizer(list(names), add_special_tokens=False)["input_ids"]
        for name, row in zip(names, rows, strict=True):
            if not row:
                raise UsageError("the language model finds no token in a label", found=repr(name))
        if self.max_length is not None:
            rows = [row[: max(1, self.max_length - prefixes)] for row in rows]
        longest = max(len(row) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for position, row in enumerate(rows):
            ids[position, : len(row)] = torch.tensor(row)
            mask[position, : len(row)] = True
        return ids, mask

    def forward(self, ids: Tensor, mask: Tensor, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and mask (K,L) after prefixes (P,W): last hidden states (K,P+L,W), and their mask."""
        embedded = self.body.get_input_embeddings()(ids)
        before = prefixes.to(embedded.dtype).expand(len(ids), -1, -1)
        whole = torch.cat([before.new_ones(before.shape[:2]).bool(), mask], dim=1)
        states = self.body(
            inputs_embeds=torch.cat([before, embedded], dim=1),
            attention_mask=whole.long(),
            use_cache=False,
        ).last_hidden_state
        return states, whole


def _max_length(body: nn.Module) -> int | None:
    for name in ("max_position_embeddings", "n_positions"):
        value = getattr(body.config, name, None)
        if isinstance(value, int):
            return value
    return None


def load_language_model(name: str, precision: str = "fp32") -> LanguageModel:
    """A Hugging Face causal language model by name or local folder, frozen, on the CPU.

    precision: `fp32`, `bf16` or `fp16`. The identity is that of the weights as they are stored, and
    does not depend on the precision. Raises UsageError where `transformers` is not installed,
    SpecError for an unknown precision, WeightsError for a model that cannot be loaded.
    """
    if precision not in PRECISIONS:
        raise SpecError(
            f"unknown value {precision!r} of the option 'language_model_precision'",
            hint=did_you_mean(precision, PRECISIONS),
        )
    transformers = _transformers()
    place = os.environ.get(PLACE) or name
    _refuse_missing_folder(place)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            place, trust_remote_code=False, use_safetensors=True, dtype="auto"
        )
    except Exception as error:  # the kinds of errors differ by version of library and hub client
        raise WeightsError(
            f"the language model {name!r} could not be fetched or loaded",
            found=str(error).strip().splitlines()[0][:200] if str(error) else type(error).__name__,
            expected="a causal language model with .safetensors weights that needs no code of its"
            " own",
            hint="without a network, give a local folder: --set language_model=FOLDER",
        ) from error
    body = model.base_model
    identity = LanguageModelIdentity(
        sha256=sha256_json([tensors_sha256(body.state_dict()), _tokenizer_sha256(tokenizer)]),
        width=body.get_input_embeddings().weight.shape[1],
    )
    return LanguageModel(body.to(PRECISIONS[precision]), tokenizer, identity)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise UsageError(
            "a language model needs the package 'transformers', which is not installed",
            hint="pip install 'vclip_cli[llm]', or leave it out: --set language_model=none",
        ) from None
    return transformers


def _refuse_missing_folder(place: str) -> None:
    looks_like_path = place.startswith((".", "/", "~")) or "\\" in place
    if looks_like_path and not Path(place).expanduser().is_dir():
        raise WeightsError(
            "no such folder of a language model",
            where=place,
            hint=f"if it was moved, say where it lies now with the variable {PLACE}",
        )


def _tokenizer_sha256(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return sha256_bytes(backend.to_str().encode())
    return sha256_json(sorted(tokenizer.get_vocab().items()))
