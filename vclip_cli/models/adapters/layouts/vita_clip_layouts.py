"""Vita-CLIP's checkpoints, whose image tower is the authors' own module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vclip_cli.common.errors import UsageError, WeightsError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.models.adapters.layouts.rules import (
    MASKS,
    RECOMPUTED,
    TEXT_TENSORS,
    KeyRule,
    Layout,
    Reading,
    first,
    missing_part,
)
from vclip_cli.models.backbone import Backbone

_VITA_BLOCK = r"visual\.blocks\.(\d+)\."
_VITA_RESBLOCK = r"clip.visual.transformer.resblocks.\1."


def _vita_split(name: str, value: Tensor) -> list[tuple[str, Tensor]]:
    if name == "visual.global_prompts":
        return [(f"{name}.{index}", block) for index, block in enumerate(value)]
    return [(name, value)]


def _vita_finish(tensors: dict[str, Tensor]) -> None:
    """Adapt the file to CLIP's form.

    CLIP's patch convolution has no bias: it is added to the patches' positions, with equal effect.
    The file has one logit scale; CLIP's own, which the method does not use, gets the same value.
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
        raise missing_part("no time embedding")
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


def _vita_preprocessing(size: int) -> Preprocessing:
    return Preprocessing(size=size, resize_to=size, interpolation="cv2-bilinear")


def _class_names(
    given: Sequence[str] | None,
    theirs: Mapping[str, Tensor],
    reading: Reading,
    backbone: Backbone,
    where: str,
) -> tuple[str, ...]:
    """The classes of a class-specific context: `given`, checked against the file, or read from it.

    The file holds the embeddings of its prompts' tokens, which tell the tokens.
    """
    context = reading.tensors["text_context"]
    if given is not None and len(given) != len(context):
        raise UsageError(
            "the text context belongs to another number of classes",
            where=where,
            found=f"{len(given)} classes",
            expected=f"{len(context)}",
        )
    table = reading.tensors.get("clip.token_embedding.weight")
    suffix = theirs.get("prompt_learner.token_suffix")
    stored = _decode(suffix, table, backbone) if suffix is not None and table is not None else None
    if given is None and stored is None:
        raise UsageError(
            "the text context is class-specific: name the classes in the order of training",
            where=where,
            expected=f"{len(context)} names",
        )
    if given is None:
        return tuple(stored or ())
    for index, name in enumerate(given):
        if stored is not None and _letters(name) != _letters(stored[index]):
            raise WeightsError(
                f"class {index} has another name in the file",
                where=where,
                found=repr(stored[index]),
                expected=repr(name),
                hint="name the classes in the order of training",
            )
    return tuple(given)


def _decode(suffix: Tensor, table: Tensor, backbone: Backbone) -> list[str] | None:
    """Token embeddings after the context (K,N,D) to class names; None if a token is unknown."""
    tokenizer = backbone.tokenizer
    if not hasattr(tokenizer, "decode") or not hasattr(tokenizer, "eot_token_id"):
        return None
    rows, which = torch.unique(suffix.float().flatten(0, 1), dim=0, return_inverse=True)
    nearest = torch.cdist(rows, table.float()).argmin(dim=1)
    if not torch.allclose(table.float()[nearest], rows, atol=1e-4):
        return None
    names = []
    for ids in nearest[which].unflatten(0, suffix.shape[:2]).tolist():
        if tokenizer.eot_token_id not in ids:
            return None
        text = tokenizer.decode(ids[: ids.index(tokenizer.eot_token_id)]).strip()
        names.append(text.removesuffix(".").strip())
    return names


def _letters(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


VITA_CLIP = Layout(
    method="vita-clip",
    title="a released Vita-CLIP",
    signature=(r"visual\.time_embed", r"visual\.blocks\."),
    rules=(
        KeyRule(r"visual\.cls_token", "clip.visual.class_embedding"),
        KeyRule(r"visual\.pos_embed", "clip.visual.positional_embedding"),
        KeyRule(r"visual\.patch_embed\.proj\.weight", "clip.visual.conv1.weight"),
        KeyRule(r"visual\.patch_embed\.proj\.bias", "patch_bias"),
        KeyRule(r"visual\.time_embed", "time_embedding"),
        KeyRule(r"visual\.(ln_pre|ln_post|proj)(.*)", r"clip.visual.\1\2"),
        KeyRule(r"visual\.global_prompts\.(\d+)", r"prompts.\1.global_prompts"),
        *(
            KeyRule(
                rf"{_VITA_BLOCK}{theirs}\.{letter}_proj\.{kind}", rf"{ours}.in_proj_{kind}#{number}"
            )
            for theirs, ours in (
                ("attn", rf"{_VITA_RESBLOCK}attn"),
                ("summary_attn_layer", r"prompts.\1.summary_attention"),
            )
            for number, letter in enumerate("qkv")
            for kind in ("weight", "bias")
        ),
        KeyRule(rf"{_VITA_BLOCK}attn\.out_proj\.(.+)", rf"{_VITA_RESBLOCK}attn.out_proj.\2"),
        KeyRule(rf"{_VITA_BLOCK}norm([12])\.(.+)", rf"{_VITA_RESBLOCK}ln_\2.\3"),
        KeyRule(rf"{_VITA_BLOCK}mlp\.fc1\.(.+)", rf"{_VITA_RESBLOCK}mlp.c_fc.\2"),
        KeyRule(rf"{_VITA_BLOCK}mlp\.fc2\.(.+)", rf"{_VITA_RESBLOCK}mlp.c_proj.\2"),
        KeyRule(rf"{_VITA_BLOCK}cls_proj\.(.+)", r"prompts.\1.cls_projection.\2"),
        KeyRule(rf"{_VITA_BLOCK}summary_ln\.(.+)", r"prompts.\1.summary_norm.\2"),
        KeyRule(
            rf"{_VITA_BLOCK}summary_attn_layer\.out_proj\.(.+)",
            r"prompts.\1.summary_attention.out_proj.\2",
        ),
        KeyRule(rf"{_VITA_BLOCK}local_prompts", r"prompts.\1.local_prompts", first),
        KeyRule(rf"textual\.{TEXT_TENSORS}", r"clip.\1"),
        KeyRule(r"prompt_learner\.ctx", "text_context"),
        KeyRule(r"logit_scale", "log_logit_scale"),
    ),
    config=_vita_config,
    preprocessing=_vita_preprocessing,
    class_names=_class_names,
    drops=(*MASKS, (r"prompt_learner\.(token_prefix|token_suffix)", RECOMPUTED)),
    split=_vita_split,
    finish=_vita_finish,
)

LAYOUTS = (VITA_CLIP,)
