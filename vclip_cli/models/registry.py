"""Methods by name: one file of `models/adapters/`, or of `adapters/` in a user's own folder."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.common.resources import user_folders

if TYPE_CHECKING:
    from vclip_cli.models.contract import Adapter

_SHIPPED = Path(__file__).parent / "adapters"


def list_methods() -> dict[str, Path]:
    """Every method: name to file, a user's own file before a shipped one. Imports nothing."""
    found: dict[str, Path] = {}
    for folder in [*(folder / "adapters" for folder in user_folders()), _SHIPPED]:
        for path in sorted(folder.glob("*.py")):
            if not path.stem.startswith("_"):
                found.setdefault(path.stem.replace("_", "-"), path)
    return dict(sorted(found.items()))


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
    name = f"vclip_user_adapter_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a person's own file: any fault in it is theirs to see
        raise SpecError(
            f"the adapter's file cannot be imported: {type(error).__name__}: {error}",
            where=str(path),
        ) from error
    return module


def adapter_class(module: ModuleType, path: Path) -> type[Adapter]:
    """The one adapter class that a module defines itself. Raises SpecError."""
    from vclip_cli.models.contract import Adapter

    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Adapter)
        and value.__module__ == module.__name__
    ]
    expected = path.stem.replace("_", "-")
    named = [value for value in classes if getattr(value, "name", None) == expected]
    if len(named) != 1:
        raise SpecError(
            f"an adapter's file must define one Adapter class with name = {expected!r}",
            where=str(path),
            found=", ".join(getattr(value, "name", value.__name__) for value in classes) or "none",
        )
    return named[0]
