"""How many parameters each method trains, counted on the architecture itself."""

from __future__ import annotations

from typing import Any

import torch

from vclip_cli.models.backbone import load_backbone
from vclip_cli.models.registry import find_method, list_methods

CLASSES = 400
"""Kinetics-400: what a class-specific text context is counted for."""


SHOTS = 16
"""Training videos a class that a cache of embeddings is counted for."""


def count_trainable(backbone: str = "ViT-B-16-quickgelu") -> dict[str, dict[str, Any]]:
    """Method to its config and number of trainable parameters, at the papers' settings.

    The weights are random: only shapes are looked at. Vita-CLIP's released Kinetics setting has a
    context of its own for each class, and is counted both ways.
    """
    base = load_backbone(backbone, "random")
    counts: dict[str, dict[str, Any]] = {}
    for name in list_methods():
        method = find_method(name)
        for key, options in _variants(name).items():
            adapter = method(base, method.Config.from_dict(options))
            adapter.make_room(_examples(base.embedding_width))
            trainable = sum(entry.parameter.numel() for entry in adapter.trainable().values())
            shown = {k: v for k, v in adapter.config.as_dict().items() if k != "classes"}
            counts[key] = {"backbone": backbone, "config": shown, "trainable": trainable}
    return counts


def _variants(name: str) -> dict[str, dict[str, Any]]:
    """What a method is counted as: words to options."""
    classes = tuple(f"class {number}" for number in range(CLASSES))
    if name == "vita-clip":
        key = f"{name}, a context for each of {CLASSES} classes"
        return {name: {}, key: {"class_specific": True, "classes": classes}}
    if name == "linear-probe":
        return {f"{name}, {CLASSES} classes": {"classes": classes}}
    if name == "tip-adapter":
        tuned = f"{name}, keys tuned, {SHOTS} shots of {CLASSES} classes"
        return {name: {}, tuned: {"fine_tune": True, "classes": classes}}
    return {name: {}}


def _examples(width: int) -> dict[str, torch.Tensor]:
    """The shapes of a cache of training embeddings."""
    count = SHOTS * CLASSES
    return {"keys": torch.zeros(count, width), "values": torch.zeros(count, dtype=torch.long)}
