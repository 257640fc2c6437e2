"""How many parameters each method trains, counted on the architecture itself."""

from __future__ import annotations

from typing import Any

from vclip_cli.models.backbone import load_backbone
from vclip_cli.models.registry import find_method, list_methods

CLASSES = 400
"""Kinetics-400: what a class-specific text context is counted for."""


def count_trainable(backbone: str = "ViT-B-16-quickgelu") -> dict[str, dict[str, Any]]:
    """Method to its config and number of trainable parameters, at the papers' settings.

    The weights are random: only shapes are looked at. Vita-CLIP's released Kinetics setting has a
    context of its own for each class, and is counted both ways.
    """
    base = load_backbone(backbone, "random")
    counts: dict[str, dict[str, Any]] = {}
    for name in list_methods():
        method = find_method(name)
        variants: dict[str, dict[str, Any]] = {name: {}}
        if name == "vita-clip":
            classes = tuple(f"class {number}" for number in range(CLASSES))
            key = f"{name}, a context for each of {CLASSES} classes"
            variants[key] = {"class_specific": True, "classes": classes}
        for key, options in variants.items():
            adapter = method(base, method.Config.from_dict(options))
            trainable = sum(entry.parameter.numel() for entry in adapter.trainable().values())
            shown = {k: v for k, v in adapter.config.as_dict().items() if k != "classes"}
            counts[key] = {"backbone": backbone, "config": shown, "trainable": trainable}
    return counts
