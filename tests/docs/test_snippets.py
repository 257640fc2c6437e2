"""Every command and snippet of the README and of the guide works, as it stands there."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents import INSTALLS, README, Block, blocks, documents, name_of, vclip_calls

from vclip_cli.cli.verbs import build_verb
from vclip_cli.data.label_set import load_label_set
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder

LANGUAGES = ("bash", "python", "yaml", "csv", "json", "text")


@pytest.fixture
def materials() -> None:
    """What the documents speak of: `my_videos/`, `clip.mp4`, `labels.csv` and HMDB51's lists."""
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


def _write(block: Block) -> None:
    assert block.file is not None
    path = Path(block.file)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")


def _run_command(
    line: str, where: str, vclip: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, *arguments = shlex.split(line, comments=True)
    if program == "export":
        name, _, value = arguments[0].partition("=")
        monkeypatch.setenv(name, value)
        return
    assert program == "vclip", f"{where}: {line}"
    ran = vclip(*arguments)
    assert ran.code == 0, f"{where}: {line}\n{ran.err}"
    assert ran.out, f"{where}: {line} printed nothing"


def _walk(path: Path, words: str, run: Callable[[str, str], None]) -> int:
    """Run a document's blocks of commands with these words, and write its files, in order."""
    names: dict[str, Any] = {"__name__": "document"}
    count = 0
    for block in blocks(path):
        if block.file is not None:
            _write(block)
        elif block.language == "bash" and block.words == words:
            for line in block.lines:
                if line not in INSTALLS:
                    run(line, block.where)
                    count += 1
        elif block.language == "python" and not words:
            exec(compile(block.text, block.where, "exec"), names)
            count += 1
    return count


@pytest.mark.usefixtures("materials")
@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_every_command_and_snippet_runs(
    path: Path, vclip: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _walk(path, "", lambda line, where: _run_command(line, where, vclip, monkeypatch))


@pytest.mark.slow
@pytest.mark.usefixtures("materials")
@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_every_long_command_runs(
    path: Path, vclip: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _walk(path, "slow", lambda line, where: _run_command(line, where, vclip, monkeypatch))


def test_there_is_much_to_run() -> None:
    found = [block for path in documents() for block in blocks(path)]
    ran = [line for block in found if block.language == "bash" for line in block.lines]
    assert len(ran) >= 80
    assert sum(block.language == "python" for block in found) >= 8


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_options_of_commands_that_need_real_data_exist(path: Path) -> None:
    for block in blocks(path):
        if block.language == "bash" and block.words == "check":
            for line in block.lines:
                for arguments in vclip_calls(line):
                    _parse(arguments, f"{block.where}: {line}")


def _parse(arguments: list[str], where: str) -> None:
    """Let the option parser read a command, without running it."""
    verb, *rest = arguments
    command = build_verb(verb)
    while hasattr(command, "get_command") and rest:
        command, rest = command.get_command(None, rest[0]), rest[1:]
        assert command is not None, where
    try:
        command.make_context(verb, rest)
    except Exception as error:  # whatever refuses the documented command, the place is named
        raise AssertionError(f"{where}\n{error}") from error


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_no_command_stands_where_no_test_sees_it(path: Path) -> None:
    for block in blocks(path):
        assert block.language in LANGUAGES, block.where
        assert block.words in ("", "check", "slow") or block.file, block.where
        if block.language == "text":
            assert not any(vclip_calls(line) for line in block.text.splitlines()), block.where


def test_the_main_job_runs(vclip: Callable[..., Any]) -> None:
    ran = vclip("demo", "--limit", 8)
    assert ran.code == 0
    for word in ("toy/test", "toy-shapes/test", "top-1"):
        assert word in ran.out
    assert "vclip table" in ran.err


def test_the_two_install_commands_stand_in_the_readme() -> None:
    lines = {line for block in blocks(README) for line in block.text.splitlines()}
    assert lines >= INSTALLS
