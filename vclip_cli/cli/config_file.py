"""Settings from `config.yaml` and from the environment, for every verb that takes them.

A project's file wins over the user's, and the environment wins over both.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.common.resources import project_folder, user_config_folder
from vclip_cli.common.settings import Declared
from vclip_cli.engine.requests import TAKES, lasting_settings, settings_of

FILE_NAME = "config.yaml"


def default_options(verb: str) -> dict[str, Any]:
    """The values of a verb's options where the command line says nothing, by parameter name.

    Raises SpecError for an unknown key or a wrong value in a file, with file and line; UsageError
    for a wrong value in the environment.
    """
    values = {name.replace("-", "_"): value for name, value in read_config().items()}
    inner = {name.split()[1]: name for name in TAKES if name.startswith(f"{verb} ")}
    if inner:
        return {name: _options_of(full, values) for name, full in inner.items()}
    return _options_of(verb, values)


def _options_of(verb: str, values: dict[str, Any]) -> dict[str, Any]:
    if verb not in TAKES:
        return values
    found = {}
    for entry in settings_of(verb):
        if not entry.setting.lasting:
            continue
        if entry.name in values:
            found[entry.name] = _as_option(entry, values[entry.name])
        if entry.many and entry.variable and (text := os.environ.get(entry.variable)):
            found[entry.name] = _as_option(entry, _from_environment(entry, text))
    return found


def _from_environment(entry: Declared, text: str) -> list[str]:
    """Several values in one variable, one per line: a prompt may hold blanks and commas."""
    values = [line.strip() for line in text.splitlines() if line.strip()]
    if (expected := _problem(entry, values)) is not None:
        raise UsageError(f"{entry.variable}: wrong value", found=text[:80], expected=expected)
    return values


def _as_option(entry: Declared, value: Any) -> Any:
    """The value as the command line would give it."""
    if not entry.many:
        return value
    values = value if isinstance(value, list) else [value]
    return ",".join(map(str, values)) if entry.setting.commas else values


def read_config() -> dict[str, Any]:
    """The keys and values of both files, checked. Raises SpecError with file and line."""
    values: dict[str, Any] = {}
    for folder in (user_config_folder(), project_folder()):
        path = folder / FILE_NAME
        if path.is_file():
            values.update(_read_one(path))
    return values


def _read_one(path: Path) -> dict[str, Any]:
    from vclip_cli.common.yaml_files import read_yaml

    content, lines = read_yaml(path)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SpecError("a config file holds a mapping", where=str(path))
    known = lasting_settings()
    problems = []
    for key, value in content.items():
        where = f"{path}:{lines.get((key,), 1)}"
        if key not in known:
            near = did_you_mean(str(key), known)
            names = None if near and near.startswith("did") else ", ".join(known)
            hint = None if names else near
            problems.append(
                SpecError(f"unknown key {key!r}", where=where, expected=names, hint=hint)
            )
        elif (expected := _problem(known[key], value)) is not None:
            found = repr(value)[:80]
            problems.append(
                SpecError(f"{key}: wrong value", where=where, found=found, expected=expected)
            )
    if problems:
        raise SpecError.of(problems)
    return content


def _problem(entry: Declared, value: Any) -> str | None:
    """What was expected instead of a value; None for a good one."""
    if value is None:
        return "a value"
    try:
        entry.checked(value)
    except ValueError as error:
        return str(error)
    return None
