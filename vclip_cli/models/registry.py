"""Methods by name: one file of `models/adapters/`, or of `adapters/` in a user's own folder."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.resources import import_user_file, list_python, plugin_class

if TYPE_CHECKING:
    from vclip_cli.models.contract import Adapter

_SHIPPED = Path(__file__).parent / "adapters"


def list_methods() -> dict[str, Path]:
    """Every method: name to file, a user's own file before a shipped one. Imports nothing."""
    found = list_python("adapters", _SHIPPED)
    return {stem.replace("_", "-"): path for stem, path in found.items()}


def find_method(name: str) -> type[Adapter]:
    """The adapter class of a method.

    Raises UsageError with the near misses for an unknown name, SpecError for a broken file.
    """
    known = list_methods()
    if name not in known:
        raise UsageError(f"unknown method {name!r}", hint=did_you_mean(name, known))
    return adapter_class(_import_file(known[name]), known[name])


def _import_file(path: Path) -> ModuleType:
    if path.parent == _SHIPPED:
        return importlib.import_module(f"vclip_cli.models.adapters.{path.stem}")
    return import_user_file(path, "adapter")


def adapter_class(module: ModuleType, path: Path) -> type[Adapter]:
    """The one adapter class that a module defines itself. Raises SpecError."""
    from vclip_cli.models.contract import Adapter

    return plugin_class(module, path, Adapter, path.stem.replace("_", "-"))
