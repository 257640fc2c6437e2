"""`--set key=value`: change values of a recipe, and check the result against its schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.yaml_files import parse_scalar, validate_model
from vclip_cli.data.protocol import Optimizer, Recipe, Schedule

_GROUPS = ("optimizer", "schedule", "augmentation", "sampling", "views", "text")
_OPTIONAL: dict[str, type[BaseModel]] = {"optimizer": Optimizer, "schedule": Schedule}
"""Groups that a recipe may lack."""


def override(recipe: Recipe, settings: Sequence[str], options: Iterable[str]) -> Recipe:
    """The recipe with each `key=value` applied.

    A key is a field of the recipe (`frames`), a dotted one (`optimizer.betas`), the last part of a
    dotted one where it is unique (`learning_rate`), or one of the method's `options`. Raises
    UsageError for an unknown key, with the near misses, and SpecError for a wrong value.
    """
    values = recipe.model_dump()
    known = _known(values, options)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting!r}", expected="key=value")
        if key not in known:
            raise UsageError(f"unknown setting {key!r}", hint=did_you_mean(key, known))
        *path, last = known[key]
        place = values
        for part in path:
            place[part] = place[part] if place[part] is not None else {}
            place = place[part]
        place[last] = parse_scalar(text, f"--set {setting}")
        if known[key] == ("schedule", "epochs"):
            values["schedule"]["steps"] = None
        elif known[key] == ("schedule", "steps"):
            values["schedule"]["epochs"] = None
    return validate_model(values, Recipe, "--set")


def changed(published: Recipe, used: Recipe) -> dict[str, tuple[Any, Any]]:
    """The differences between two recipes: dotted key to (published, used)."""
    before, after = _flat(published.model_dump()), _flat(used.model_dump())
    keys = sorted({*before, *after} - {"config"})  # flattened to itself only where it is empty
    return {
        key: (before.get(key), after.get(key)) for key in keys if before.get(key) != after.get(key)
    }


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = list(value) if isinstance(value, tuple) else value
    return flat


def _known(values: dict[str, Any], options: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every key that may be set, and its path in the recipe."""
    paths: list[tuple[str, ...]]
    paths = [(key,) for key in values if key not in (*_GROUPS, "config", "method", "source")]
    for group in _GROUPS:
        paths += [(group, key) for key in values[group] or _OPTIONAL[group].model_fields]
    uses = Counter(path[-1] for path in paths)
    known = {path[-1]: path for path in paths if uses[path[-1]] == 1}
    known |= {".".join(path): path for path in paths}
    for key in options:
        known[key] = known[f"config.{key}"] = ("config", key)
    return known
