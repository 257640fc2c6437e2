"""Where things are kept: the project's folder, the user's config, the cache."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT_FOLDER = ".vclip"


def project_folder() -> Path:
    """The nearest `.vclip/` at or above the working folder; else one that may be made here."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / PROJECT_FOLDER).is_dir():
            return folder / PROJECT_FOLDER
    return here / PROJECT_FOLDER


def user_config_folder() -> Path:
    """`VCLIP_CONFIG`, or `vclip/` in the user's configuration folder."""
    if chosen := os.environ.get("VCLIP_CONFIG"):
        return Path(chosen).expanduser()
    if os.name == "nt" and (roaming := os.environ.get("APPDATA")):
        return Path(roaming) / "vclip"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "vclip"


def cache_folder() -> Path:
    """`VCLIP_CACHE`, or `vclip/` in the user's cache folder."""
    if chosen := os.environ.get("VCLIP_CACHE"):
        return Path(chosen).expanduser()
    if os.name == "nt" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "vclip" / "cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vclip"
