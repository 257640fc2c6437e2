"""The house: which room may import which, what may be heavy, and what lies at the top."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import vclip_cli

PACKAGE = Path(vclip_cli.__file__).parent
ROOMS = {"data", "video", "models", "results"}
FLOORS = {"cli": 3, "engine": 2, **dict.fromkeys(ROOMS, 1), "toy": 1}
HEAVY = ("torch", "open_clip", "pandas", "sklearn", "torchvision", "cv2", "av", "pydantic")


def _imports(path: Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported when the file is) of every import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _for_types_only(node)
        for child in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [(f"{node.module}.{alias.name}", node not in inside) for alias in node.names]
    return found


def _for_types_only(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def _room(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "vclip_cli" and len(parts) > 1 and parts[1] in FLOORS else None


def test_imports_point_downwards_and_rooms_do_not_know_each_other() -> None:
    looked_at = 0
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).parts
        room = parts[0] if len(parts) > 1 else None
        if parts[-1] == "__main__.py" and len(parts) == 1:
            continue  # the front door itself
        for module, _ in _imports(path):
            other = _room(module)
            looked_at += 1
            if other is None or other == room:
                continue
            if room is None:
                raise AssertionError(f"the ground floor imports a room: {path}: {module}")
            if room == "toy":
                assert other in {"data", "video", "models"}, f"{path}: {module}"
            else:
                assert FLOORS[other] < FLOORS[room], f"{path}: {module}"
    assert looked_at > 500


def test_data_and_results_never_import_torch_and_video_not_at_module_level() -> None:
    looked_at = 0
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0]
        for module, top_level in _imports(path):
            looked_at += 1
            if module.split(".")[0] in ("torch", "torchvision", "open_clip"):
                assert room not in ("data", "results"), path
                assert not (room == "video" and top_level), path
    assert looked_at > 500


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("split", "--help"), ("eval", "--help"), ("train", "--help"), ("--version",)],
)
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    loaded = _modules_after(arguments)
    assert "typer" in loaded
    assert not [name for name in HEAVY if name in loaded]


def test_split_never_loads_torch() -> None:
    loaded = _modules_after(("split", "toy", "--protocol", "few-shot", "--shots", "2"))
    assert "pandas" in loaded
    assert not {"torch", "open_clip", "torchvision", "sklearn"} & set(loaded)
    assert list(Path("splits").rglob("*.csv"))


def _modules_after(arguments: tuple[str, ...]) -> list[str]:
    code = (
        "import json, sys\n"
        "from vclip_cli.__main__ import run\n"
        f"code = run({list(arguments)!r})\n"
        "print('\\nMODULES' + json.dumps([code, sorted(m for m in sys.modules if '.' not in m)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    code, modules = json.loads(done.stdout.rpartition("MODULES")[2])
    assert code == 0, done.stderr
    return modules


def test_top_level_holds_only_what_the_design_names() -> None:
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        return  # an unpacked source archive has its own top
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=True
    ).stdout
    tops = {line.split("/")[0] for line in listed.splitlines()}
    allowed = {
        "vclip_cli", "protocols", "label_sets", "tests", "pyproject.toml", "README.md", "LICENSE",
        "CHANGELOG.md",
    }  # fmt: skip
    assert {name for name in tops if not name.startswith(".")} <= allowed


def test_no_path_of_a_machine_stands_in_the_project() -> None:
    root = Path(__file__).parents[1]
    homes = ("/" + "work/", "/" + "root/", "/" + "home/")
    for path in [*PACKAGE.rglob("*.py"), *(root / "tests").rglob("*.py"), root / "README.md"]:
        text = path.read_text(encoding="utf-8")
        assert not [home for home in homes if home in text], path
