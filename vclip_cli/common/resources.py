"""Finding protocols, label sets and adapters by file name, wherever the package was put.

The search goes from the nearest to the most general: each folder of `VCLIP_PATH`, the project's
`.vclip/`, the user's config folder, and last what ships with the package. Each of them may hold
`protocols/`, `label_sets/` and `adapters/`. The first file of a name wins.
"""

from __future__ import annotations

import os
from pathlib import Path

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.common.folders import project_folder, user_config_folder

_PACKAGE = Path(__file__).resolve().parents[1]
_ONE = {"protocols": "protocol", "label_sets": "label set"}


def user_folders() -> list[Path]:
    """The folders of `VCLIP_PATH`, the project's and the user's, nearest first.

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
    except UsageError:  # no folder of VCLIP_PATH can be the file's
        return False
    folders = [folder / kind for folder in found for kind in ("adapters", "metrics")]
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def shipped_folder(kind: str) -> Path:
    """The package's own `protocols/` or `label_sets/`: inside a wheel, or beside it in a checkout.

    A checkout is asked first, so that an edit there is seen at once by an editable install.
    """
    for folder in (_PACKAGE.parent / kind, _PACKAGE / kind):
        in_checkout = (folder.parent / "pyproject.toml").is_file()
        if folder.is_dir() and (in_checkout or folder.parent == _PACKAGE):
            return folder
    raise SpecError(f"the installed package lacks its {kind}/ folder", hint="install vclip again")


def list_yaml(kind: str) -> dict[str, Path]:
    """Every YAML file of a kind (`protocols`, `label_sets`): name to path, sorted by name."""
    found: dict[str, Path] = {}
    for folder in [*(folder / kind for folder in user_folders()), shipped_folder(kind)]:
        for path in sorted(folder.glob("*.yaml")):
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


def list_backbones() -> dict[str, Path]:
    """Backbones beyond open_clip's own: name to its open_clip JSON config, weights beside it.

    From `backbones/` of the user's folders, and the tiny CLIP of the embedded benchmark.
    """
    found: dict[str, Path] = {}
    for folder in [*(folder / "backbones" for folder in user_folders()), _PACKAGE / "toy"]:
        for path in sorted(folder.glob("*.json")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))
