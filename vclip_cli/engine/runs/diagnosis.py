"""Software and machine facts for records and for `vclip doctor`."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from vclip_cli import __version__
from vclip_cli.common.errors import VclipError
from vclip_cli.common.files import free_bytes
from vclip_cli.common.resources import (
    cache_folder,
    list_yaml,
    project_folder,
    user_config_folder,
    user_folders,
)

LIBRARIES = (
    "torch",
    "open_clip_torch",
    "numpy",
    "av",
    "decord",
    "opencv-python-headless",
    "pillow",
)
OPTIONAL = ("transformers", "accelerate", "tensorboard")


@lru_cache(maxsize=1)
def package_facts() -> dict[str, Any]:
    """Version and commit of this package.

    The commit is that of the package's own checkout, None for an installed package; the working
    folder's repository is ignored. `+changed` marks local edits.
    """
    root = Path(__file__).resolve().parents[3]
    commit = None
    if (root / "pyproject.toml").is_file() and (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit is not None and _git(root, "status", "--porcelain", "-uno"):
            commit += "+changed"
    return {"version": __version__, "commit": commit}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def library_versions() -> dict[str, str]:
    """The versions of Python and of the libraries that can change a number."""
    return {"python": platform.python_version(), **_installed(LIBRARIES)}


def _installed(names: Iterable[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def diagnose() -> dict[str, dict[str, Any]]:
    """Sections of facts, each a mapping of plain values."""
    from vclip_cli.models.registry import list_methods
    from vclip_cli.video.decoders import decoder_versions

    decoders = {name: found or "not installed" for name, found in decoder_versions().items()}
    return {
        "vclip": package_facts(),
        "libraries": {
            **library_versions(),
            **dict.fromkeys(OPTIONAL, "not installed"),
            **_installed(OPTIONAL),
        },
        "devices": _devices(),
        "decoders": decoders,
        "folders": _folders(),
        "names": {
            "protocols": list(list_yaml("protocols")),
            "label sets": list(list_yaml("label_sets")),
            "methods": list(list_methods()),
            "datasets": _datasets(),
        },
        "environment": {
            key: value for key, value in sorted(os.environ.items()) if key.startswith("VCLIP_")
        },
    }


def _devices() -> dict[str, Any]:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use",
        "cuda": names or "not available",
        "mps": "available" if torch.backends.mps.is_available() else "not available",
    }


def _folders() -> dict[str, Any]:
    cache = cache_folder()
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    return {
        "project": str(project_folder()),
        "user config": str(user_config_folder()),
        "cache": f"{cache} ({size / 1e6:,.0f} MB; {free_bytes(cache) / 1e9:,.0f} GB free)",
        "searched for protocols, label sets, adapters": [str(path) for path in user_folders()],
        "weights of open_clip": str(Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))),
    }


def _datasets() -> list[str] | str:
    from vclip_cli.data.dataset import list_datasets
    from vclip_cli.toy import EMBEDDED

    try:
        return [*EMBEDDED, *list_datasets()]
    except VclipError as error:  # the rest is reported all the same
        return f"cannot be listed: {error}"
