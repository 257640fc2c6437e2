"""Checks of an open_clip config: the model is of a possible size, and no foreign code is run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.safe_readers import read_json

MOST_PARAMETERS = 20_000_000_000
"""Four times the largest CLIP."""
_LARGEST_NUMBER = 2_000_000
_PARTS = ("embed_dim", "vision_cfg", "text_cfg")


def read_architecture(path: Path) -> Mapping[str, Any]:
    """An open_clip model config from a JSON file, also in the hub's form, checked.

    Raises WeightsError when it is damaged or absurdly large, or asks to run foreign code.
    """
    where = str(path)
    content = read_json(path, error=WeightsError)
    config = content.get("model_cfg", content) if isinstance(content, dict) else None
    parts = [config.get(part) for part in _PARTS] if isinstance(config, dict) else []
    towers = [part for part in parts if isinstance(part, dict)]
    if not isinstance(config, dict) or len(towers) != 2:
        raise WeightsError("no open_clip config", where=where, expected=", ".join(_PARTS))
    for key, value in _entries(content):
        # `tokenizer_kwargs` go to the tokenizer's loader, which would download and run a module.
        if "remote_code" in key and value:
            raise WeightsError(
                "the backbone's config asks to run code that comes with it", where=where, found=key
            )
        if key.endswith("model_name") and str(value).startswith(("hf-hub:", "hf_hub:", "local-")):
            raise WeightsError(
                "the backbone's config asks for another model", where=where, found=str(value)[:100]
            )
        numbers = value if isinstance(value, list) else [value]
        if any(isinstance(n, int | float) and abs(n) > _LARGEST_NUMBER for n in numbers):
            raise WeightsError(
                f"{key}: no model is this large",
                where=where,
                found=str(value)[:80],
                expected=f"at most {_LARGEST_NUMBER:,}",
            )
    count = sum(_parameters(tower, where) for tower in towers)
    if count > MOST_PARAMETERS:
        raise WeightsError(
            "the backbone's config describes an absurdly large model",
            where=where,
            found=f"some {count:.2g} parameters",
            expected=f"at most {MOST_PARAMETERS:.2g}",
        )
    return config


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield key, part
            yield from _entries(part)
    elif isinstance(value, list):
        for part in value:
            yield from _entries(part)


def _parameters(tower: Mapping[str, Any], where: str) -> float:
    """Roughly the number of values in a tower of this config, masks and positions included."""
    try:
        layers = tower.get("layers", 12)
        depth = sum(layers) if isinstance(layers, list) else layers
        width = tower.get("width", 768)
        patches = (_side(tower.get("image_size", 224)) / tower.get("patch_size", 16)) ** 2
        context = tower.get("context_length", 77)
        blocks = depth * (4 + 2 * tower.get("mlp_ratio", 4.0)) * width**2
        return blocks + (patches + tower.get("vocab_size", 0) + context) * width + context**2
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
        raise WeightsError(
            "a number of the backbone's config is missing or wrong",
            where=where,
            found=str(error)[:100],
        ) from None


def _side(size: Any) -> float:
    return max(size) if isinstance(size, list) else size
