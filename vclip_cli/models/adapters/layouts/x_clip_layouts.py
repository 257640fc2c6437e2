"""X-CLIP's checkpoints: as its authors release them, and as Hugging Face's XCLIPModel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vclip_cli.models.adapters.layouts.rules import (
    INDEX,
    TEXT_TENSORS,
    KeyRule,
    Layout,
    Reading,
    count_parts,
    first,
    missing_part,
    transposed,
)

X_CLIP_RULES = (
    KeyRule(
        r"visual\.transformer\.resblocks\.(\d+)\.message_fc\.(.+)", r"messages.\1.projection.\2"
    ),
    KeyRule(r"visual\.transformer\.resblocks\.(\d+)\.message_ln\.(.+)", r"messages.\1.norm.\2"),
    KeyRule(
        r"visual\.transformer\.resblocks\.(\d+)\.message_attn\.(.+)", r"messages.\1.attention.\2"
    ),
    KeyRule(r"(visual\..+|logit_scale)", r"clip.\1"),
    KeyRule(TEXT_TENSORS, r"clip.\1"),
    KeyRule(r"mit\.positional_embedding", "integration_positions", first),
    KeyRule(r"mit\.resblocks\.(\d+\..+)", r"integration.\1"),
    KeyRule(r"prompts_visual_ln\.(.+)", r"context_norm.\1"),
    KeyRule(r"prompts_visual_proj", "context_projection"),
    KeyRule(r"prompts_generator\.alpha", "prompt_scale"),
    KeyRule(r"prompts_generator\.norm\.(.+)", r"prompt_norm.\1"),
    *(
        KeyRule(
            rf"prompts_generator\.decoder\.(\d+)\.{theirs}\.(.+)", rf"prompt_layers.\1.{ours}.\2"
        )
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
        raise missing_part("no positional table of the multi-frame integration")
    return {
        "frames": len(tensors["integration_positions"]),
        "integration_layers": count_parts(tensors, r"integration\.(\d+)\."),
        "prompt_layers": count_parts(tensors, r"prompt_layers\.(\d+)\."),
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
            KeyRule(rf"{theirs}\.(\d+)\.{part}", rf"{ours}.\1.{target}")
            for theirs, ours in _HF_TOWERS
            for part, target in _HF_BLOCK
        ),
        *(
            KeyRule(
                rf"vision_model\.encoder\.layers\.(\d+)\.message_attn\.{letter}_proj\.{kind}",
                rf"messages.\1.attention.in_proj_{kind}#{number}",
            )
            for number, letter in enumerate("qkv")
            for kind in ("weight", "bias")
        ),
        *(
            KeyRule(
                rf"vision_model\.encoder\.layers\.(\d+)\.{theirs}\.(weight|bias)",
                rf"messages.\1.{ours}.\2",
            )
            for theirs, ours in (
                (r"message_attn\.out_proj", "attention.out_proj"),
                ("message_fc", "projection"),
                ("message_ln", "norm"),
            )
        ),
        KeyRule(r"vision_model\.embeddings\.class_embedding", "clip.visual.class_embedding"),
        KeyRule(
            r"vision_model\.embeddings\.position_embedding\.weight",
            "clip.visual.positional_embedding",
        ),
        KeyRule(r"vision_model\.embeddings\.patch_embedding\.weight", "clip.visual.conv1.weight"),
        KeyRule(r"vision_model\.pre_layernorm\.(.+)", r"clip.visual.ln_pre.\1"),
        KeyRule(r"vision_model\.post_layernorm\.(.+)", r"clip.visual.ln_post.\1"),
        KeyRule(r"visual_projection\.weight", "clip.visual.proj", transposed),
        KeyRule(r"text_model\.embeddings\.token_embedding\.weight", "clip.token_embedding.weight"),
        KeyRule(r"text_model\.embeddings\.position_embedding\.weight", "clip.positional_embedding"),
        KeyRule(r"text_model\.final_layer_norm\.(.+)", r"clip.ln_final.\1"),
        KeyRule(r"text_projection\.weight", "clip.text_projection", transposed),
        KeyRule(r"logit_scale", "clip.logit_scale"),
        KeyRule(r"mit\.position_embedding", "integration_positions", first),
        KeyRule(r"prompts_visual_layernorm\.(.+)", r"context_norm.\1"),
        KeyRule(r"prompts_visual_projection", "context_projection"),
        KeyRule(r"prompts_generator\.layernorm\.(.+)", r"prompt_norm.\1"),
        *(rule for rule in X_CLIP_RULES if rule.pattern.startswith(r"prompts_generator\.")),
    ),
    config=_x_clip_config,
    drops=((r"(text|vision)_model\.embeddings\.position_ids", INDEX),),
)

LAYOUTS = (X_CLIP_HF, X_CLIP)
