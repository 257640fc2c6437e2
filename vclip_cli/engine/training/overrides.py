"""`--set key=value`: change values of a recipe, and check the result against its schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.yaml_files import parse_scalar, validate_model
from vclip_cli.data.recipe import Optimizer, Recipe, Schedule
from vclip_cli.engine.requests import Request
from vclip_cli.models.contract import Adapter

_GROUPS = ("optimizer", "schedule", "augmentation", "sampling", "views", "text")
_OPTIONAL: dict[str, type[BaseModel]] = {"optimizer": Optimizer, "schedule": Schedule}
"""Groups that a recipe may lack."""
ALWAYS_USED = ("frames", "config", "text", "preprocessing", "backbone", "views", "sampling")
"""Recipe keys that have an effect on methods fitted on stored embeddings."""


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


def check_fitting(
    request: Request, method: type[Adapter], recipe: Recipe, changes: Iterable[str]
) -> None:
    """Refuse settings without effect on a method that is fitted on stored embeddings.

    changes: the dotted keys of the recipe that `--set` changed. Raises UsageError.
    """
    used = (*ALWAYS_USED, *method.fit_uses)
    useless = [key for key in changes if not key.startswith(("schedule", *used))]
    schedule = recipe.schedule
    if schedule is not None:
        plain = Schedule(epochs=schedule.epochs or 1)
        useless += [
            f"schedule.{name}"
            for name, value in schedule
            if value != getattr(plain, name) or "schedule.epochs" not in used
        ]
    named = tuple(f".{setting.partition('=')[0]}" for setting in request.training.set)
    for key in sorted(useless, key=lambda key: not f".{key}".endswith(named)):
        raise UsageError(
            f"the setting {key!r} has no effect on {method.name!r}",
            expected="one of " + ", ".join([*method.fit_uses, *ALWAYS_USED]),
        )
    asked = request.training
    for option, given in (
        ("--select-on", asked.select_on),
        ("--stop-after", asked.stop_after),
        ("--start-from", asked.start_from),
        ("--flip", asked.flip or None),
    ):
        if given is not None:
            raise UsageError(
                f"{option} has no effect on {method.name!r}, which is fitted on stored embeddings"
            )
