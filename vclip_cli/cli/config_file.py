"""`config.yaml`: a person's or a project's defaults for the shared options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vclip_cli.common.errors import SpecError, did_you_mean
from vclip_cli.common.resources import project_folder, user_config_folder

FILE_NAME = "config.yaml"


def known_keys() -> dict[str, type]:
    """The keys that a config file may hold, spelled as the flags without dashes in front."""
    text, number, switch = str, int, bool
    return {
        "protocol": text, "dataset": text, "method": text, "backbone": text, "pretrained": text,
        "checkpoint": text, "frames": number, "clips": number, "crops": number, "decoder": text,
        "frames-from": text, "shots": number, "seed": number, "device": text, "precision": text,
        "batch-size": number, "workers": number, "video-timeout": number, "limit-memory": number,
        "limit": number, "on-error": text, "gradient-checkpointing": switch, "resume": switch,
        "cache": switch,
    }  # fmt: skip


LEAST = {
    "frames": 1, "clips": 1, "shots": 1, "seed": 0, "batch-size": 1, "workers": 0,
    "video-timeout": 1, "limit-memory": 64, "limit": 1,
}  # fmt: skip
"""The least that an option takes."""
MOST = 2**31 - 1
CHOICES = {"crops": (1, 3)}


def read_config() -> dict[str, Any]:
    """Option values by parameter name, the project's file over the user's.

    Raises SpecError for an unknown key or a value of the wrong kind or size, with file and line.
    """
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
    keys = known_keys()
    problems = []
    for key, value in content.items():
        where = f"{path}:{lines.get((key,), 1)}"
        if key not in keys:
            near = did_you_mean(str(key), keys)
            known = None if near and near.startswith("did") else ", ".join(keys)
            hint = None if known else near
            problem = SpecError(f"unknown key {key!r}", where=where, expected=known, hint=hint)
        elif type(value) is not keys[key]:
            problem = SpecError(
                f"{key}: wrong kind of value",
                where=where,
                found=repr(value),
                expected=keys[key].__name__,
            )
        elif expected := _out_of_range(key, value):
            problem = SpecError(
                f"{key}: the value is out of range",
                where=where,
                found=repr(value)[:80],
                expected=expected,
            )
        else:
            continue
        problems.append(problem)
    if problems:
        raise SpecError.of(problems)
    return {key.replace("-", "_"): value for key, value in content.items()}


def _out_of_range(key: str, value: Any) -> str | None:
    """What was expected of a value that is no sensible one; None for a good one."""
    if key in CHOICES and value not in CHOICES[key]:
        return " or ".join(map(str, CHOICES[key]))
    if key in LEAST and not LEAST[key] <= value <= MOST:
        return f"{LEAST[key]} to {MOST:,}"
    if isinstance(value, str) and not (value and value.isprintable()):
        return "a text on one line"
    return None
