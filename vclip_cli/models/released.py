"""How the checkpoints that the papers' authors released name their tensors, and ours for each.

A layout is a list of rules from their names to ours. A target `name#1` is the second of the parts
that are joined along the first dimension (query, key and value maps that are stored apart), and
`name@1` the second of those that are stacked (one entry a block).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vclip_cli.common.errors import WeightsError


class Rule(NamedTuple):
    """A pattern for a whole name, its replacement, and what is done to the values."""

    pattern: str
    target: str
    change: Callable[[Tensor], Tensor] | None = None


def _first(value: Tensor) -> Tensor:
    return value[0]


def _transposed(value: Tensor) -> Tensor:
    return value.T


RECOMPUTED = "made from the training classes' names; computed again for the classes at hand"
INDEX = "an index or a mask, no weight"
_MASKS = ((r"(.*\.)?attn_mask|input_resolution|context_length|vocab_size", INDEX),)


@dataclass(frozen=True)
class Reading:
    """A released file read by its layout: our tensors, and what became of each of theirs.

    origins: their names for each of ours; firsts: the first block of what is stacked over blocks.
    """

    tensors: dict[str, Tensor]
    origins: dict[str, list[str]]
    dropped: dict[str, str]
    firsts: dict[str, int]


@dataclass(frozen=True)
class Layout:
    """One kind of released file.

    signature: patterns that all occur among its names. drops: pattern to the reason why a tensor is
    not needed. config: from what was read, and the file's own settings where it brings them, to
    the options of the method. split: one of their tensors to several names. finish: changes ours
    at the end.
    """

    method: str
    title: str
    signature: Sequence[str]
    rules: Sequence[Rule]
    config: Callable[[Reading, Mapping[str, Any]], dict[str, Any]]
    drops: Sequence[tuple[str, str]] = field(default=_MASKS)
    split: Callable[[str, Tensor], list[tuple[str, Tensor]]] = lambda name, value: [(name, value)]
    finish: Callable[[dict[str, Tensor]], None] = lambda tensors: None

    def fits(self, names: Sequence[str]) -> bool:
        """Whether the names are those of this layout."""
        return all(any(re.match(pattern, name) for name in names) for pattern in self.signature)


def read_layout(layout: Layout, source: Mapping[str, Tensor], where: str) -> Reading:
    """Their tensors to ours, in float32. Raises WeightsError for a name that no rule knows."""
    parts: dict[str, dict[int, Tensor]] = {}
    origins: dict[str, list[str]] = {}
    dropped: dict[str, str] = {}
    stacked: set[str] = set()
    unknown = []
    for name, value in source.items():
        reason = next((why for pattern, why in layout.drops if re.fullmatch(pattern, name)), None)
        if reason is not None:
            dropped[name] = reason
            continue
        for piece_name, piece in layout.split(name, value):
            target = _target(layout.rules, piece_name)
            if target is None:
                unknown.append(name)
                break
            full, change = target
            ours, mark, index = _place(full)
            changed = change(piece) if change else piece
            parts.setdefault(ours, {})[int(index or 0)] = changed.to(torch.float32, copy=True)
            origins.setdefault(ours, []).append(name)
            if mark == "@":
                stacked.add(ours)
    if unknown:
        raise unknown_names(unknown, layout.title, where)
    tensors = {ours: _join(ours, found, ours in stacked, where) for ours, found in parts.items()}
    layout.finish(tensors)
    return Reading(tensors, origins, dropped, {name: min(parts[name]) for name in stacked})


def unknown_names(names: Sequence[str], title: str, where: str) -> WeightsError:
    """The error for tensors that a released file of this kind does not have."""
    return WeightsError(
        f"the file holds tensors that {title} does not have",
        where=where,
        found=", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else ""),
        hint="nothing is left out silently: is it a checkpoint of another method?",
    )


def _target(rules: Sequence[Rule], name: str) -> tuple[str, Callable | None] | None:
    for rule in rules:
        match = re.fullmatch(rule.pattern, name)
        if match:
            return match.expand(rule.target), rule.change
    return None


def _place(target: str) -> tuple[str, str, str]:
    """A target to our name, the mark and the number of the part; both empty for a whole."""
    mark = next((mark for mark in "#@" if mark in target), "")
    return target.partition(mark) if mark else (target, "", "")


def _join(name: str, parts: dict[int, Tensor], stack: bool, where: str) -> Tensor:
    numbers = sorted(parts)
    values = [parts[number] for number in numbers]
    first = numbers[0] if stack else 0
    if numbers != list(range(first, first + len(numbers))):
        raise WeightsError(
            f"parts of {name!r} are missing",
            where=where,
            found=", ".join(map(str, numbers)),
            expected=f"all from {first} on",
        )
    try:
        if stack:
            return torch.stack(values)
        return values[0] if len(values) == 1 else torch.cat(values)
    except RuntimeError as error:
        raise WeightsError(
            f"the parts of {name!r} do not fit together", where=where, found=str(error)[:200]
        ) from None


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({m.group(1) for name in tensors if (m := re.match(pattern, name))})


def _missing_part(name: str) -> WeightsError:
    return WeightsError("the file lacks a part that its method cannot do without", found=name)


_TEXT = (
    r"(transformer\..+|token_embedding\.weight|positional_embedding|text_projection|ln_final\..+)"
)

# X-CLIP, as its authors release it ----------------------------------------------------------------

X_CLIP_RULES = (
    Rule(r"visual\.transformer\.resblocks\.(\d+)\.message_fc\.(.+)", r"messages.\1.projection.\2"),
    Rule(r"visual\.transformer\.resblocks\.(\d+)\.message_ln\.(.+)", r"messages.\1.norm.\2"),
    Rule(r"visual\.transformer\.resblocks\.(\d+)\.message_attn\.(.+)", r"messages.\1.attention.\2"),
    Rule(r"(visual\..+|logit_scale)", r"clip.\1"),
    Rule(_TEXT, r"clip.\1"),
    Rule(r"mit\.positional_embedding", "integration_positions", _first),
    Rule(r"mit\.resblocks\.(\d+\..+)", r"integration.\1"),
    Rule(r"prompts_visual_ln\.(.+)", r"context_norm.\1"),
    Rule(r"prompts_visual_proj", "context_projection"),
    Rule(r"prompts_generator\.alpha", "prompt_scale"),
    Rule(r"prompts_generator\.norm\.(.+)", r"prompt_norm.\1"),
    *(
        Rule(rf"prompts_generator\.decoder\.(\d+)\.{theirs}\.(.+)", rf"prompt_layers.\1.{ours}.\2")
        for theirs, ours in (
            (r"cross_attn\.q_proj", "attention.query"),
            (r"cross_attn\.k_proj", "attention.key"),
            (r"cross_attn\.v_proj", "attention.value"),
            (r"cross_attn\.proj", "attention.out"),
            ("norm1", "attention_norm"),
            ("norm3", "mlp_norm"),
            (r"mlp\.0", "mlp.0"),
            (r"mlp\.3", "mlp.2"),
        )
    ),
)


def _x_clip_config(reading: Reading, settings: Mapping[str, Any]) -> dict[str, Any]:
    tensors = reading.tensors
    if "integration_positions" not in tensors:
        raise _missing_part("no positional table of the multi-frame integration")
    return {
        "frames": len(tensors["integration_positions"]),
        "integration_layers": _count(tensors, r"integration\.(\d+)\."),
        "prompt_layers": _count(tensors, r"prompt_layers\.(\d+)\."),
    }


X_CLIP = Layout(
    method="x-clip",
    title="a released X-CLIP",
    signature=(r"visual\.", r"mit\.", r"prompts_generator\."),
    rules=X_CLIP_RULES,
    config=_x_clip_config,
)

# X-CLIP, as Hugging Face's XCLIPModel stores it ---------------------------------------------------

_HF_BLOCK = (
    *(
        (rf"self_attn\.{letter}_proj\.{kind}", f"attn.in_proj_{kind}#{number}")
        for number, letter in enumerate("qkv")
        for kind in ("weight", "bias")
    ),
    (r"self_attn\.out_proj\.(weight|bias)", r"attn.out_proj.\2"),
    (r"layer_norm([12])\.(weight|bias)", r"ln_\2.\3"),
    (r"mlp\.fc1\.(weight|bias)", r"mlp.c_fc.\2"),
    (r"mlp\.fc2\.(weight|bias)", r"mlp.c_proj.\2"),
)
_HF_TOWERS = (
    (r"vision_model\.encoder\.layers", "clip.visual.transformer.resblocks"),
    (r"text_model\.encoder\.layers", "clip.transformer.resblocks"),
    (r"mit\.encoder\.layers", "integration"),
)
X_CLIP_HF = Layout(
    method="x-clip",
    title="X-CLIP as Hugging Face's XCLIPModel stores it",
    signature=(r"vision_model\.encoder\.layers\.0\.message_fc\.", r"mit\.position_embedding"),
    rules=(
        *(
            Rule(rf"{theirs}\.(\d+)\.{part}", rf"{ours}.\1.{target}")
            for theirs, ours in _HF_TOWERS
            for part, target in _HF_BLOCK
        ),
        *(
            Rule(
                rf"vision_model\.encoder\.layers\.(\d+)\.message_attn\.{letter}_proj\.{kind}",
                rf"messages.\1.attention.in_proj_{kind}#{number}",
            )
            for number, letter in enumerate("qkv")
            for kind in ("weight", "bias")
        ),
        *(
            Rule(
                rf"vision_model\.encoder\.layers\.(\d+)\.{theirs}\.(weight|bias)",
                rf"messages.\1.{ours}.\2",
            )
            for theirs, ours in (
                (r"message_attn\.out_proj", "attention.out_proj"),
                ("message_fc", "projection"),
                ("message_ln", "norm"),
            )
        ),
        Rule(r"vision_model\.embeddings\.class_embedding", "clip.visual.class_embedding"),
        Rule(
            r"vision_model\.embeddings\.position_embedding\.weight",
            "clip.visual.positional_embedding",
        ),
        Rule(r"vision_model\.embeddings\.patch_embedding\.weight", "clip.visual.conv1.weight"),
        Rule(r"vision_model\.pre_layernorm\.(.+)", r"clip.visual.ln_pre.\1"),
        Rule(r"vision_model\.post_layernorm\.(.+)", r"clip.visual.ln_post.\1"),
        Rule(r"visual_projection\.weight", "clip.visual.proj", _transposed),
        Rule(r"text_model\.embeddings\.token_embedding\.weight", "clip.token_embedding.weight"),
        Rule(r"text_model\.embeddings\.position_embedding\.weight", "clip.positional_embedding"),
        Rule(r"text_model\.final_layer_norm\.(.+)", r"clip.ln_final.\1"),
        Rule(r"text_projection\.weight", "clip.text_projection", _transposed),
        Rule(r"logit_scale", "clip.logit_scale"),
        Rule(r"mit\.position_embedding", "integration_positions", _first),
        Rule(r"prompts_visual_layernorm\.(.+)", r"context_norm.\1"),
        Rule(r"prompts_visual_projection", "context_projection"),
        Rule(r"prompts_generator\.layernorm\.(.+)", r"prompt_norm.\1"),
        *(rule for rule in X_CLIP_RULES if rule.pattern.startswith(r"prompts_generator\.")),
    ),
    config=_x_clip_config,
    drops=((r"(text|vision)_model\.embeddings\.position_ids", INDEX),),
)

# ViFi-CLIP, and its second stage ------------------------------------------------------------------

_VIFI_RULES = (
    Rule(r"image_encoder\.VPT", "vision_prompts@0"),
    Rule(r"image_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"vision_prompts@\1"),
    Rule(r"prompt_learner\.ctx", "text_prompts@0"),
    Rule(r"text_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"text_prompts@\1"),
    Rule(r"image_encoder\.(.+)", r"clip.visual.\1"),
    Rule(r"text_encoder\.(.+)", r"clip.\1"),
    Rule(r"logit_scale", "clip.logit_scale"),
)
_VIFI_DROPS = (
    *_MASKS,
    (r"prompt_learner\.(token_prefix|token_suffix|complete_text_embeddings)", RECOMPUTED),
)


def _vifi_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    for part in ("TRAINER", "ViFi_CLIP"):
        settings = settings.get(part, {}) if isinstance(settings, Mapping) else {}
    return settings if isinstance(settings, Mapping) else {}


def _vifi_config(reading: Reading, settings: Mapping[str, Any]) -> dict[str, Any]:
    tune = _vifi_settings(settings).get("USE", "both")
    return {"tune": tune if tune in ("both", "image", "text") else "both"}


def _vl_config(reading: Reading, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Text prompts begin with the second block where the authors' switch for learned text was off.

    Such a file holds whole embedded prompts instead of their ends.
    """
    config: dict[str, Any] = {"vision_tokens": 0, "vision_depth": 0}
    config |= {"text_tokens": 0, "text_depth": 1}
    for side in ("vision", "text"):
        if f"{side}_prompts" in reading.tensors:
            first = reading.firsts[f"{side}_prompts"]
            count, tokens, _ = reading.tensors[f"{side}_prompts"].shape
            config |= {f"{side}_tokens": tokens, f"{side}_depth": first + count}
            whole = side == "text" and "prompt_learner.complete_text_embeddings" in reading.dropped
            if first > (1 if whole else 0):
                raise _missing_part(f"no {side} prompts for the first block")
            config |= {"text_first": first} if side == "text" else {}
    words = _vifi_settings(settings).get("CTX_INIT")
    return config | ({"context_words": words} if isinstance(words, str) else {})


VIFI_CLIP = Layout(
    method="vifi-clip",
    title="a released ViFi-CLIP without prompts",
    signature=(r"image_encoder\.|text_encoder\.",),
    rules=_VIFI_RULES[4:],
    config=_vifi_config,
    drops=_VIFI_DROPS,
)
VL_PROMPT = Layout(
    method="vl-prompt",
    title="a released ViFi-CLIP with vision and language prompts",
    signature=(
        r"image_encoder\.|text_encoder\.",
        r"image_encoder\.VPT|prompt_learner\.ctx|.*\.VPT_shallow",
    ),
    rules=_VIFI_RULES,
    config=_vl_config,
    drops=_VIFI_DROPS,
)

# Vita-CLIP ----------------------------------------------------------------------------------------

_VITA_BLOCK = r"visual\.blocks\.(\d+)\."
_VITA_RESBLOCK = r"clip.visual.transformer.resblocks.\1."


def _vita_split(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    if name == "visual.global_prompts":
        return [(f"{name}.{index}", block) for index, block in enumerate(value)]
    return [(name, value)]


def _vita_finish(tensors: dict[str, Tensor]) -> None:
    """Fit the file to CLIP's form.

    CLIP's patches have no bias: it goes into the positions of the patches, to equal effect. There
    is one logit scale; CLIP's own, which this method leaves aside, is given the same value.
    """
    if "log_logit_scale" in tensors:
        tensors["clip.logit_scale"] = tensors["log_logit_scale"].clone()
    bias = tensors.pop("patch_bias", None)
    positions = tensors.get("clip.visual.positional_embedding")
    if bias is not None and positions is not None:
        tensors["clip.visual.positional_embedding"] = torch.cat(
            [positions[:1], positions[1:] + bias]
        )


def _vita_config(reading: Reading, settings: Mapping[str, Any]) -> dict[str, Any]:
    tensors = reading.tensors
    if "time_embedding" not in tensors:
        raise _missing_part("no time embedding")
    context = tensors.get("text_context")
    global_prompts = tensors.get("prompts.0.global_prompts")
    return {
        "frames": len(tensors["time_embedding"]),
        "global_prompts": 0 if global_prompts is None else len(global_prompts),
        "local_prompts": "prompts.0.local_prompts" in tensors,
        "summary_token": "prompts.0.summary_norm.weight" in tensors,
        "text_context": 0 if context is None else context.shape[-2],
        "class_specific": context is not None and context.ndim == 3,
    }


VITA_CLIP = Layout(
    method="vita-clip",
    title="a released Vita-CLIP",
    signature=(r"visual\.time_embed", r"visual\.blocks\."),
    rules=(
        Rule(r"visual\.cls_token", "clip.visual.class_embedding"),
        Rule(r"visual\.pos_embed", "clip.visual.positional_embedding"),
        Rule(r"visual\.patch_embed\.proj\.weight", "clip.visual.conv1.weight"),
        Rule(r"visual\.patch_embed\.proj\.bias", "patch_bias"),
        Rule(r"visual\.time_embed", "time_embedding"),
        Rule(r"visual\.(ln_pre|ln_post|proj)(.*)", r"clip.visual.\1\2"),
        Rule(r"visual\.global_prompts\.(\d+)", r"prompts.\1.global_prompts"),
        *(
            Rule(
                rf"{_VITA_BLOCK}{theirs}\.{letter}_proj\.{kind}", rf"{ours}.in_proj_{kind}#{number}"
            )
            for theirs, ours in (
                ("attn", rf"{_VITA_RESBLOCK}attn"),
                ("summary_attn_layer", r"prompts.\1.summary_attention"),
            )
            for number, letter in enumerate("qkv")
            for kind in ("weight", "bias")
        ),
        Rule(rf"{_VITA_BLOCK}attn\.out_proj\.(.+)", rf"{_VITA_RESBLOCK}attn.out_proj.\2"),
        Rule(rf"{_VITA_BLOCK}norm([12])\.(.+)", rf"{_VITA_RESBLOCK}ln_\2.\3"),
        Rule(rf"{_VITA_BLOCK}mlp\.fc1\.(.+)", rf"{_VITA_RESBLOCK}mlp.c_fc.\2"),
        Rule(rf"{_VITA_BLOCK}mlp\.fc2\.(.+)", rf"{_VITA_RESBLOCK}mlp.c_proj.\2"),
        Rule(rf"{_VITA_BLOCK}cls_proj\.(.+)", r"prompts.\1.cls_projection.\2"),
        Rule(rf"{_VITA_BLOCK}summary_ln\.(.+)", r"prompts.\1.summary_norm.\2"),
        Rule(
            rf"{_VITA_BLOCK}summary_attn_layer\.out_proj\.(.+)",
            r"prompts.\1.summary_attention.out_proj.\2",
        ),
        Rule(rf"{_VITA_BLOCK}local_prompts", r"prompts.\1.local_prompts", _first),
        Rule(rf"textual\.{_TEXT}", r"clip.\1"),
        Rule(r"prompt_learner\.ctx", "text_context"),
        Rule(r"logit_scale", "log_logit_scale"),
    ),
    config=_vita_config,
    drops=(*_MASKS, (r"prompt_learner\.(token_prefix|token_suffix)", RECOMPUTED)),
    split=_vita_split,
    finish=_vita_finish,
)

LAYOUTS = (X_CLIP_HF, X_CLIP, VITA_CLIP, VL_PROMPT, VIFI_CLIP)
"""The layouts, the more particular before the more general."""
