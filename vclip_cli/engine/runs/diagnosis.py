"""What `vclip doctor` reports."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import VclipError
from vclip_cli.common.resources import (
    cache_folder,
    list_yaml,
    project_folder,
    user_config_folder,
    user_folders,
)
from vclip_cli.engine.runs.environment import library_versions, package_facts


def diagnose() -> dict[str, dict[str, Any]]:
    """Sections of facts, each a mapping of plain values."""
    return {
        "vclip": package_facts(),
        "libraries": {**library_versions(), **_optional()},
        "devices": _devices(),
        "decoders": _decoders(),
        "folders": _folders(),
        "names": _names(),
        "environment": {
            key: value for key, value in sorted(os.environ.items()) if key.startswith("VCLIP_")
        },
    }


def _optional() -> dict[str, str]:
    found = {}
    for name in ("transformers", "accelerate", "tensorboard"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _devices() -> dict[str, Any]:
    import torch

    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "cpu": f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use",
        "cuda": names or "not available",
        "mps": "available" if torch.backends.mps.is_available() else "not available",
    }


def _decoders() -> dict[str, Any]:
    from vclip_cli.video.decoders import decoder_versions

    return {name: found or "not installed" for name, found in decoder_versions().items()}


def _folders() -> dict[str, Any]:
    cache = cache_folder()
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    return {
        "project": str(project_folder()),
        "user config": str(user_config_folder()),
        "cache": f"{cache} ({size / 1e6:,.0f} MB; {free / 1e9:,.0f} GB free)",
        "searched for protocols, label sets, adapters": [str(path) for path in user_folders()],
        "weights of open_clip": str(Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))),
    }


def _names() -> dict[str, Any]:
    from vclip_cli.models.registry import list_methods

    return {
        "protocols": list(list_yaml("protocols")),
        "label sets": list(list_yaml("label_sets")),
        "methods": list(list_methods()),
        "datasets": _datasets(),
    }


def _datasets() -> list[str] | str:
    from vclip_cli.data.dataset import list_datasets
    from vclip_cli.engine.loading.datasets import EMBEDDED

    try:
        return [*EMBEDDED, *list_datasets()]
    except VclipError as error:  # a broken config must not keep the doctor from speaking
        return f"cannot be listed: {error}"
