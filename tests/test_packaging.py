"""What the package imports is declared in `pyproject.toml`, and nothing else is."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "open_clip": "open-clip-torch",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Modules whose distribution has another name."""


def _imports() -> dict[str, set[str]]:
    """Distributions that the package imports, and the files that do so."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "vclip_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in ("vclip_cli", "__future__"):
                    found[DISTRIBUTIONS.get(top, top.replace("_", "-"))].add(path.name)
    return found


def _declared(requirements: list[str]) -> set[str]:
    names = [re.split(r"[\s<>=!~;\[]", requirement)[0] for requirement in requirements]
    return {re.sub(r"[-_.]+", "-", name).lower() for name in names}


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = _declared(project["dependencies"])
    optional = {
        name
        for group, requirements in project["optional-dependencies"].items()
        if group != "test"
        for name in _declared(requirements)
    }
    found = _imports()
    assert len(found) > 15
    undeclared = {name: files for name, files in found.items() if name not in needed | optional}
    assert not undeclared
    assert needed <= found.keys()
