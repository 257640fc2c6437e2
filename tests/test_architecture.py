"""The layout of the package: who may import whom, what may be heavy, sizes, and the top level.

A room is a folder of the package with all that lies below it: `data`, `video`, `models`, `results`,
`common`, `toy`, `report`, `bench`, `library`, `cli`. `engine` is the hall where the rooms meet:
each of its folders is a room of its own, and its single files (`specs.py`, …) form one more.
`errors` is a public alias of `common/errors.py`.
"""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import vclip_cli

PACKAGE = Path(vclip_cli.__file__).parent
ROOT = Path(__file__).parents[1]

FLOORS = {
    "common": 0,
    **dict.fromkeys(("data", "video", "models", "results", "errors"), 1),
    "toy": 2,
    "engine": 3,
    **dict.fromkeys(("report", "bench"), 4),
    "library": 5,
    "cli": 6,
}
"""A room imports only rooms of lower floors."""
TOY_MAY_IMPORT = {"common", "data", "video"}
HALL_FLOORS = {
    "specs": 0,
    "requests": 1,
    "runs": 2,
    "loading": 3,
    "encoding": 4,
    **dict.fromkeys(("training", "evaluation", "stores"), 5),
    **dict.fromkeys(("verification", "sweep", "predict", "splits"), 6),
}
"""The same inside `engine`, for folders and single files."""
GUESTS = {"report", "bench", "library", "cli"}
"""Rooms that may import the public library, `vclip_cli` itself; others take `__version__` alone."""

HEAVY = ("torch", "open_clip", "pandas", "sklearn", "torchvision", "cv2", "av", "pydantic")
TORCH = {"torch", "torchvision", "open_clip", "timm"}
CORE = ("engine", "data", "video", "models", "results", "common")
CORE_LINES = 22_000
HALL_LINES = 8_500
HALL_FILES = 45
LONGEST, SHORTEST = 350, 61
PLUG_INS = ("models/adapters", "data/readers", "results/metrics", "cli")
"""Folders in which one file is one plug-in or one verb, however short."""
TOP_LEVEL = {
    "vclip_cli", "protocols", "label_sets", "tests", "pyproject.toml", "README.md", "LICENSE",
    "CHANGELOG.md", "CITATION.cff",
}  # fmt: skip
NAME_OF_A_MODULE = r"^vclip_cli(?:\.\w+)+$"
LEAST_IMPORTS = 1_500
LEAST_FILES = 120


class Import(NamedTuple):
    """An import statement's target. at_load: whether it runs when the file is loaded."""

    target: str
    at_load: bool


class Module(NamedTuple):
    """A file of the package. parts: its path below the package, `("engine", "specs.py")`."""

    name: str
    path: Path
    parts: tuple[str, ...]
    tree: ast.Module
    imports: list[Import]

    @property
    def room(self) -> str:
        """`data`, `video`, …; empty for the two files of the package itself."""
        return self.parts[0] if len(self.parts) > 1 else ""

    @property
    def where(self) -> str:
        return "/".join(self.parts)

    @property
    def lines(self) -> int:
        return len(self.path.read_text(encoding="utf-8").splitlines())


@cache
def modules() -> dict[str, Module]:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).parts
        name = ".".join(("vclip_cli", *parts)).removesuffix(".py").removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found[name] = Module(name, path, parts, tree, list(imports_of(tree, name)))
    assert len(found) >= LEAST_FILES
    return found


def imports_of(tree: ast.Module, module: str) -> Iterator[Import]:
    """Every import: at the top, under TYPE_CHECKING, in functions, and by name in a string."""
    deferred = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        at_load = node not in deferred
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            yield from (Import(f"{node.module}.{alias.name}", at_load) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # importlib.import_module takes such a name
            yield from (Import(name, False) for name in re.findall(NAME_OF_A_MODULE, node.value))


def own_imports() -> list[tuple[Module, str, tuple[str, ...]]]:
    """(importing module, target, its parts below `vclip_cli`) of imports within the package."""
    found = [
        (module, target, tuple(target.split(".")[1:]))
        for module in modules().values()
        for target, _ in module.imports
        if target.split(".")[0] == "vclip_cli"
    ]
    assert len(found) >= LEAST_IMPORTS
    return found


def wrong_direction() -> Iterator[str]:
    """Imports that point upwards or sideways between rooms."""
    for module, target, parts in own_imports():
        if not module.room:
            continue  # the front doors, __init__ and __main__
        other = parts[0] if parts else ""
        if other not in FLOORS:
            if module.room not in GUESTS and other != "__version__":
                yield f"{module.where}: imports the public library: {target}"
            continue
        too_high = FLOORS[other] >= FLOORS[module.room]
        if other != module.room and (too_high or not may_know(module.room, other)):
            yield f"{module.where}: {target}"


def may_know(room: str, other: str) -> bool:
    return room != "toy" or other in TOY_MAY_IMPORT


def wrong_direction_in_the_hall() -> Iterator[str]:
    """Imports that point upwards or sideways between the rooms of `engine`."""
    for module, target, parts in own_imports():
        if module.room != "engine" or module.parts[1] == "__init__.py":
            continue
        here = module.parts[1].removesuffix(".py")
        if parts[:1] != ("engine",) or len(parts) < 2 or parts[1] == here:
            continue
        if parts[1] in HALL_FLOORS and HALL_FLOORS[parts[1]] >= HALL_FLOORS.get(here, 9):
            yield f"{module.where}: {target}"


def unknown_rooms() -> Iterator[str]:
    """Folders and files of the package that have no place in the order."""
    for module in modules().values():
        if module.room and module.room not in FLOORS and module.room != "docs":
            yield f"{module.where}: no such room"
        hall_room = module.parts[1].removesuffix(".py") if module.room == "engine" else "specs"
        if hall_room not in {*HALL_FLOORS, "__init__"}:
            yield f"{module.where}: no such room in the hall"
        if not module.room and module.parts[0] not in ("__init__.py", "__main__.py"):
            yield f"{module.where}: a loose file"


def circles() -> Iterator[str]:
    """Sets of modules that import each other in a circle, at load or later, or for types only."""
    graph: dict[str, set[str]] = defaultdict(set)
    known = modules()
    for module, target, _ in own_imports():
        name = target if target in known else target.rpartition(".")[0]
        if name in known and name != module.name and "vclip_cli" not in (name, module.name):
            graph[module.name].add(name)
    assert sum(map(len, graph.values())) >= LEAST_IMPORTS / 3
    reached = {name: reachable(graph, name) for name in known}
    told: set[str] = set()
    for name in known:
        circle = sorted(other for other in reached[name] if name in reached[other])
        if circle and name not in told:
            told |= set(circle)
            yield "circle: " + ", ".join(circle)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        fresh = graph.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found


def torch_where_it_must_not_be() -> Iterator[str]:
    """Torch in `data` or `results`, or at the top of a file in `video`."""
    for module in modules().values():
        for target, at_load in module.imports:
            if target.split(".")[0] not in TORCH:
                continue
            if module.room in ("data", "results") or (module.room == "video" and at_load):
                yield f"{module.where}: {target}"


def class_names_twice() -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for module in modules().values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.where)
    assert len(places) >= 100
    yield from (f"class {name}: {', '.join(at)}" for name, at in places.items() if len(at) > 1)


def file_names_twice() -> Iterator[str]:
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for module in modules().values():
        room = module.room
        if room == "engine" and len(module.parts) > 2:
            room = "/".join(module.parts[:2])
        if module.path.name != "__init__.py":
            places[room, module.path.name].append(module.where)
    yield from (f"file {name}: {', '.join(at)}" for (_, name), at in places.items() if len(at) > 1)


def file_sizes() -> Iterator[str]:
    for module in modules().values():
        if module.lines > LONGEST:
            yield f"{module.where}: {module.lines} lines, more than {LONGEST}"
        own_size = module.path.name in ("__init__.py", "__main__.py")
        own_size |= module.where.startswith(tuple(f"{folder}/" for folder in PLUG_INS))
        if module.lines < SHORTEST and not own_size:
            yield f"{module.where}: {module.lines} lines, fewer than {SHORTEST}"


def budgets() -> Iterator[str]:
    hall = [module for module in modules().values() if module.room == "engine"]
    core = [
        module
        for module in modules().values()
        if module.room in CORE and not module.where.startswith("models/adapters/")
    ]
    core_lines, hall_lines = (sum(module.lines for module in group) for group in (core, hall))
    if core_lines > CORE_LINES:
        yield f"core: {core_lines:,} lines, more than {CORE_LINES:,}"
    if hall_lines > HALL_LINES:
        yield f"hall: {hall_lines:,} lines, more than {HALL_LINES:,}"
    if len(hall) > HALL_FILES:
        yield f"hall: {len(hall)} files, more than {HALL_FILES}"


def top_level() -> Iterator[str]:
    if not (ROOT / ".git").exists():
        return  # an unpacked source archive has its own top
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True
    ).stdout
    tops = {line.split("/")[0] for line in listed.splitlines()}
    yield from sorted(name for name in tops - TOP_LEVEL if not name.startswith("."))


def texts() -> Iterator[tuple[str, str]]:
    """(path, text) of what ships and of the tests."""
    folders = [PACKAGE, ROOT / "tests", ROOT / "protocols", ROOT / ".github", ROOT / ".ci"]
    single = [ROOT / name for name in TOP_LEVEL if (ROOT / name).is_file()]
    inside = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    ends = {".py", ".md", ".yaml", ".yml", ".toml", ".cff", ".html", ".js", ".css", ".json", ""}
    for path in sorted([*single, *inside]):
        if path.suffix in ends and "__pycache__" not in path.parts:
            base = PACKAGE.parent if path.is_relative_to(PACKAGE) else ROOT
            yield str(path.relative_to(base)), path.read_text(encoding="utf-8")


def machine_paths() -> Iterator[str]:
    pattern = re.compile("/" + r"(work|root|home)/")
    for where, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            if pattern.search(line):
                yield f"{where}:{number}: {line.strip()[:80]}"


def references_to_a_file_that_does_not_ship() -> Iterator[str]:
    """The word in comments, strings and documents; a Python name may be spelt so."""
    word = re.compile(r"\b" + "METH" + r"ODS\b")
    for where, text in texts():
        if where.endswith(".py"):
            found = tokenize.generate_tokens(io.StringIO(text).readline)
            rest = [(t.start[0], t.string) for t in found if t.type != tokenize.NAME]
        else:
            rest = list(enumerate(text.splitlines(), 1))
        yield from (f"{where}:{number}" for number, part in rest if word.search(part))


RULES: dict[str, Callable[[], Iterable[str]]] = {
    rule.__name__: rule
    for rule in (
        wrong_direction,
        wrong_direction_in_the_hall,
        unknown_rooms,
        circles,
        torch_where_it_must_not_be,
        class_names_twice,
        file_names_twice,
        file_sizes,
        budgets,
        top_level,
        machine_paths,
        references_to_a_file_that_does_not_ship,
    )
}


@pytest.mark.parametrize("rule", RULES)
def test_layout(rule: str) -> None:
    violations = list(RULES[rule]())
    assert not violations, "\n" + "\n".join(violations)


def test_imports_are_seen_wherever_they_stand() -> None:
    source = """
import torch
from vclip_cli.data import split as s
if TYPE_CHECKING:
    from vclip_cli.engine.runs import shard
def load():
    import vclip_cli.models.adapters.parts.prompts
    return importlib.import_module("vclip_cli.results.table")
"""
    assert set(imports_of(ast.parse(source), "made up")) == {
        Import("torch", True),
        Import("vclip_cli.data.split", True),
        Import("vclip_cli.engine.runs.shard", False),
        Import("vclip_cli.models.adapters.parts.prompts", False),
        Import("vclip_cli.results.table", False),
    }
    assert reachable({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}, "a") == {"a", "b", "c"}


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
        "print('\\nLOADED' + json.dumps([code, sorted(m for m in sys.modules if '.' not in m)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    code, modules = json.loads(done.stdout.rpartition("LOADED")[2])
    assert code == 0, done.stderr
    return modules
