"""Every command of the README is run, as it stands there."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vclip_cli.data.label_set import load_label_set
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INSTALLS = {"pip install . && vclip demo", "pip install '.[test]' && pytest"}
"""The two commands that the continuous integration runs in an environment of its own."""


def blocks(kind: str) -> list[tuple[str, str]]:
    """(the words after the language, text) of every code block of a language."""
    text = README.read_text(encoding="utf-8")
    return [(more.strip(), body) for name, more, body in BLOCK.findall(text) if name == kind]


def commands(words: str) -> list[str]:
    return [
        line
        for more, body in blocks("bash")
        if more == words
        for line in body.splitlines()
        if line.strip() and line not in INSTALLS
    ]


@pytest.fixture
def what_the_readme_speaks_of() -> None:
    """`my_videos/`, `clip.mp4`, HMDB51's lists, and the README's own adapter."""
    rows = open_dataset("toy").manifest.rows.groupby("class").head(2).head(8)
    prepare_videos("toy", rows["video"].tolist())
    for path, name in zip(rows["path"], rows["class"], strict=True):
        target = Path("my_videos") / name / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(toy_folder() / path, target)
    shutil.copy(next(Path("my_videos").rglob("*.mp4")), "clip.mp4")
    lists = Path("hmdb51/testTrainMulti_7030_splits")
    lists.mkdir(parents=True)
    for name in load_label_set("hmdb51").names:
        for split in (1, 2, 3):
            lines = [f"clip_{name}_{number}.avi {1 + number // 4} " for number in range(6)]
            (lists / f"{name}_test_split{split}.txt").write_text("\n".join(lines) + "\n")
    for words, body in blocks("python"):
        path = Path(words.removeprefix("file="))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body)


def _run_all(lines: list[str], vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for line in lines:
        program, *arguments = shlex.split(line)
        if program == "export":
            name, _, value = arguments[0].partition("=")
            monkeypatch.setenv(name, value)
            continue
        assert program == "vclip", line
        ran = vclip(*arguments)
        assert ran.code == 0, f"{line}\n{ran.err}"
        assert ran.out, line


@pytest.mark.usefixtures("what_the_readme_speaks_of")
def test_every_command_runs(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = commands("")
    assert len(lines) >= 20
    _run_all(lines, vclip, monkeypatch)


def test_the_main_job_runs(vclip: Callable) -> None:
    ran = vclip("demo", "--limit", 8)
    assert ran.code == 0
    for word in ("toy/test", "toy-shapes/test", "top1"):
        assert word in ran.out
    assert "vclip table" in ran.err


@pytest.mark.slow
def test_every_long_command_runs(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = commands("slow")
    assert lines
    _run_all(lines, vclip, monkeypatch)


def test_the_two_install_commands_stand_there() -> None:
    lines = {line for _, body in blocks("bash") for line in body.splitlines()}
    assert lines >= INSTALLS
