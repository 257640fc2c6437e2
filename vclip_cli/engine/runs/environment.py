"""What a record says of the software and the machine."""

from __future__ import annotations

import platform
import subprocess
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from vclip_cli import __version__

LIBRARIES = (
    "torch",
    "open_clip_torch",
    "numpy",
    "av",
    "decord",
    "opencv-python-headless",
    "pillow",
)


@lru_cache(maxsize=1)
def package_commit() -> str | None:
    """The commit of the checkout that the package runs from; None for an installed package.

    The working folder's own repository has nothing to do with it. `+changed` marks local edits.
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / "pyproject.toml").is_file() or not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("+changed" if _git(root, "status", "--porcelain", "-uno") else "")


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
    """The versions of what can change a number, `python` among them."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def package_facts() -> dict[str, str | None]:
    """Version and commit of this package."""
    return {"version": __version__, "commit": package_commit()}
