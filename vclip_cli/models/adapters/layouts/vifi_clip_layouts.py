"""ViFi-CLIP's checkpoints: the fine-tuned towers, and those of the second stage with prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vclip_cli.models.adapters.layouts.rules import (
    MASKS,
    RECOMPUTED,
    KeyRule,
    Layout,
    Reading,
    missing_part,
)

_PROMPT_RULES = (
    KeyRule(r"image_encoder\.VPT", "vision_prompts@0"),
    KeyRule(r"image_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"vision_prompts@\1"),
    KeyRule(r"prompt_learner\.ctx", "text_prompts@0"),
    KeyRule(r"text_encoder\.transformer\.resblocks\.(\d+)\.VPT_shallow", r"text_prompts@\1"),
)
_TOWER_RULES = (
    KeyRule(r"image_encoder\.(.+)", r"clip.visual.\1"),
    KeyRule(r"text_encoder\.(.+)", r"clip.\1"),
    KeyRule(r"logit_scale", "clip.logit_scale"),
)
_DROPS = (
    *MASKS,
    (r"prompt_learner\.(token_prefix|token_suffix|complete_text_embeddings)", RECOMPUTED),
)


def _trainer_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section TRAINER.ViFi_CLIP of the config in the file, empty where there is none."""
    for part in ("TRAINER", "ViFi_CLIP"):
        settings = settings.get(part, {}) if isinstance(settings, Mapping) else {}
    return settings if isinstance(settings, Mapping) else {}


def _vifi_config(reading: Reading, settings: Mapping[str, Any]) -> dict[str, Any]:
    tune = _trainer_settings(settings).get("USE", "both")
    return {"tune": tune if tune in ("both", "image", "text") else "both"}


def _vl_config(reading: Reading, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of prompts and blocks, from the tensors' shapes.

    Without the authors' switch for learned text, text prompts begin with the second block, and the
    file holds whole embedded prompts instead of their ends.
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
                raise missing_part(f"no {side} prompts for the first block")
            config |= {"text_first": first} if side == "text" else {}
    words = _trainer_settings(settings).get("CTX_INIT")
    return config | ({"context_words": words} if isinstance(words, str) else {})


VIFI_CLIP = Layout(
    method="vifi-clip",
    title="a released ViFi-CLIP without prompts",
    signature=(r"image_encoder\.|text_encoder\.",),
    rules=_TOWER_RULES,
    config=_vifi_config,
    drops=_DROPS,
)
VL_PROMPT = Layout(
    method="vl-prompt",
    title="a released ViFi-CLIP with vision and language prompts",
    signature=(
        r"image_encoder\.|text_encoder\.",
        r"image_encoder\.VPT|prompt_learner\.ctx|.*\.VPT_shallow",
    ),
    rules=(*_PROMPT_RULES, *_TOWER_RULES),
    config=_vl_config,
    drops=_DROPS,
)

LAYOUTS = (VL_PROMPT, VIFI_CLIP)
"""The second stage first: the rules of the first stage know its names as well."""
