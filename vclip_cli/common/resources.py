"""Where things are kept, and finding protocols, label sets, backbones and plug-ins by file name.

The search order is: each folder of `VCLIP_PATH`, the project's `.vclip/`, the user's config folder,
and last what ships with the package. Each of them may hold `protocols/`, `label_sets/`,
`adapters/`, `metrics/` and `backbones/`. The first file of a name wins.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.common.files import plain_name, write_text

PROJECT_FOLDER = ".vclip"
Plugin = TypeVar("Plugin")
_PACKAGE = Path(__file__).resolve().parents[1]
_ONE = {"protocols": "protocol", "label_sets": "label set"}


def project_folder() -> Path:
    """The nearest `.vclip/` at or above the working folder; else the one to be made here."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FOLDER).is_dir():
            return folder / PROJECT_FOLDER
    return here / PROJECT_FOLDER


def user_config_folder() -> Path:
    """`VCLIP_CONFIG`, or `vclip/` in the user's configuration folder."""
    return _user_folder("VCLIP_CONFIG", "APPDATA", "vclip", "XDG_CONFIG_HOME", ".config")


def cache_folder() -> Path:
    """`VCLIP_CACHE`, or `vclip/` in the user's cache folder."""
    return _user_folder("VCLIP_CACHE", "LOCALAPPDATA", "vclip/cache", "XDG_CACHE_HOME", ".cache")


def _user_folder(own: str, windows: str, windows_name: str, xdg: str, in_home: str) -> Path:
    """The folder that the variable `own` names, or the system's default for it."""
    if chosen := os.environ.get(own):
        return Path(chosen).expanduser()
    if os.name == "nt" and (base := os.environ.get(windows)):
        return Path(base) / windows_name
    return Path(os.environ.get(xdg) or Path.home() / in_home) / "vclip"


def user_folders() -> list[Path]:
    """The folders of `VCLIP_PATH`, the project's and the user's, in the order of the search.

    Raises UsageError when `VCLIP_PATH` names a folder that does not exist.
    """
    named = [Path(part) for part in os.environ.get("VCLIP_PATH", "").split(os.pathsep) if part]
    for folder in named:
        if not folder.is_dir():
            raise UsageError("a folder of VCLIP_PATH does not exist", where=str(folder))
    return [*named, project_folder(), user_config_folder()]


def is_user_code(path: Path) -> bool:
    """Whether a Python file lies in `adapters/` or `metrics/` of one of the user's folders."""
    try:
        found = user_folders()
    except UsageError:  # with a broken VCLIP_PATH no user file is loaded
        return False
    folders = [folder / kind for folder in found for kind in ("adapters", "metrics")]
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def shipped_folder(kind: str) -> Path:
    """The package's own `protocols/` or `label_sets/`: inside a wheel, or beside it in a checkout.

    A checkout comes first, so that an editable install sees an edit at once.
    """
    for folder in (_PACKAGE.parent / kind, _PACKAGE / kind):
        in_checkout = (folder.parent / "pyproject.toml").is_file()
        if folder.is_dir() and (in_checkout or folder.parent == _PACKAGE):
            return folder
    raise SpecError(f"the installed package lacks its {kind}/ folder", hint="install vclip again")


def list_yaml(kind: str) -> dict[str, Path]:
    """Every YAML file of a kind (`protocols`, `label_sets`): name to path, sorted by name."""
    folders = [*(folder / kind for folder in user_folders()), shipped_folder(kind)]
    return _first_of_each_name(folders, "*.yaml")


def list_backbones() -> dict[str, Path]:
    """Backbones beyond open_clip's own: name to its open_clip JSON config, weights beside it.

    From `backbones/` of the user's folders, and the tiny CLIP of the embedded benchmark.
    """
    folders = [*(folder / "backbones" for folder in user_folders()), _PACKAGE / "toy"]
    return _first_of_each_name(folders, "*.json")


def _first_of_each_name(folders: list[Path], pattern: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(folder.glob(pattern)):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def find_yaml(kind: str, name: str) -> Path:
    """The YAML file of a name, or `name` itself when it is a path to a .yaml file.

    Raises UsageError with the near misses when nothing of that name is known.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"no such {_ONE[kind]} file", where=name)
        return path
    known = list_yaml(kind)
    if name not in known:
        raise UsageError(f"unknown {_ONE[kind]} {name!r}", hint=did_you_mean(name, known))
    return known[name]


def new_yaml(kind: str, name: str, path: Path | None = None) -> Path:
    """Write a commented protocol or label set that loads as it is, to be edited. Returns its path.

    path: where to; `.vclip/KIND/NAME.yaml` of the project when None. Raises UsageError for a name
    that cannot name a file, and for a file that exists.
    """
    try:
        plain_name(name)
    except ValueError as error:
        raise UsageError(f"not a name: {error}", found=repr(name)[:120]) from None
    known = list_yaml(kind).get(name)
    if name == "new" or (path is None and known is not None):
        raise UsageError(
            f"there is a {_ONE[kind]} {name!r} already",
            where=str(known) if known else None,
            hint="choose another name, or name the file with --out",
        )
    path = path or project_folder() / kind / f"{name}.yaml"
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError("the file must end in .yaml", where=str(path))
    if path.exists():
        raise UsageError("the file exists", where=str(path), hint="choose another name, or --out")
    begin_with = _PACKAGE / "data" / f"new_{_ONE[kind].replace(' ', '_')}.yaml"
    text = begin_with.read_text(encoding="utf-8")
    quoted = name.replace("'", "''")
    write_text(path, text.replace("name: NAME", f"name: '{quoted}'").replace("NAME", name))
    return path


def list_python(kind: str, shipped: Path) -> dict[str, Path]:
    """Every Python file of a kind (`adapters`, `metrics`): its stem to its path, sorted.

    A user's own file comes before a shipped one. Imports nothing.
    """
    folders = [*(folder / kind for folder in user_folders()), shipped]
    return _first_of_each_name(folders, "[!_]*.py")


def list_metrics() -> dict[str, Path]:
    """Every metric: name to file."""
    return list_python("metrics", _PACKAGE / "results" / "metrics")


def import_user_file(path: Path, kind: str) -> ModuleType:
    """A Python file of a user's folder as a module. kind: `adapter` or `metric`.

    Raises SpecError, naming the file, for any fault while it is imported.
    """
    name = f"vclip_user_{kind}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with contextlib.redirect_stdout(sys.stderr):  # standard output is for results
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the fault is in the user's own file
        raise SpecError(
            f"the {kind}'s file cannot be imported: {type(error).__name__}: {error}",
            where=f"{path}:{line_of_error(error, path)}",
        ) from error
    return module


def line_of_error(error: BaseException, path: Path) -> int:
    """The last line of a file that ran before an error, or the line that could not be parsed."""
    if isinstance(error, SyntaxError) and error.lineno is not None:
        return error.lineno
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    return next((f.lineno or 1 for f in reversed(frames) if f.filename == str(path)), 1)


def plugin_class(module: ModuleType, path: Path, base: type[Plugin], name: str) -> type[Plugin]:
    """The one subclass of `base` that a module defines itself and that has this `name`.

    Raises SpecError, naming the file, when there is none, or several.
    """
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, base)
        and value.__module__ == module.__name__
    ]
    named = [value for value in classes if getattr(value, "name", None) == name]
    if len(named) != 1:
        article = "an" if base.__name__[0] in "AEIOU" else "a"
        raise SpecError(
            f"{article} {base.__name__.lower()}'s file must define one {base.__name__} class with"
            f" name = {name!r}",
            where=str(path),
            found=", ".join(getattr(value, "name", value.__name__) for value in classes) or "none",
        )
    return named[0]
