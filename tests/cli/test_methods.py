"""`vclip methods`: the list, a new method from the template, and errors in a user's own file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

EVAL = ("eval", "-d", "toy", "-p", "zero-shot", "--limit", 2, "--pretrained", "random")
TRAIN = (
    *("train", "-d", "toy", "-p", "few-shot", "--shots", 2, "--seed", 1, "--pretrained", "random"),
    *("--limit", 4, "--set", "epochs=1", "--set", "batch_size=4"),
)


def names(vclip: Callable) -> dict[str, dict]:
    ran = vclip("methods", "--json")
    assert ran.code == 0, ran.err
    return {row["name"]: row for row in json.loads(ran.out)["methods"]}


# A new method -------------------------------------------------------------------------------------


def test_a_new_method_is_listed_evaluates_and_trains(vclip: Callable) -> None:
    ran = vclip("methods", "new", "my-idea")
    assert ran.code == 0, ran.err
    file = Path(".vclip/adapters/my_idea.py")
    assert file.is_file() and str(file) in ran.out
    assert not {"NewMethod", "new-method"} & set(file.read_text().split('"'))
    listed = names(vclip)["my-idea"]
    assert listed["config"] == {"frames": 8} and listed["file"].endswith("my_idea.py")
    assert vclip(*EVAL, "-m", "my-idea", "--out", "eval").code == 0
    ran = vclip(*TRAIN, "-m", "my-idea", "--out", "run")
    assert ran.code == 0, ran.err
    assert Path("run/checkpoint.safetensors").is_file()
    test = ("eval", "-p", "few-shot", "-d", "toy", "--limit", 2, "--out", "test")
    ran = vclip(*test, "--checkpoint", "run/checkpoint.safetensors")
    assert ran.code == 0, ran.err


def test_a_new_method_goes_where_out_says(vclip: Callable) -> None:
    ran = vclip("methods", "new", "my-idea", "--out", "own/adapters/my_idea.py", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out) == {"method": "my-idea", "file": "own/adapters/my_idea.py"}
    assert "my-idea" not in names(vclip)  # own/ is no folder that is searched


def test_a_new_method_replaces_nothing(vclip: Callable) -> None:
    assert vclip("methods", "new", "my-idea").code == 0
    file = Path(".vclip/adapters/my_idea.py")
    file.write_text("kept = 1\n")
    ran = vclip("methods", "new", "my-idea")
    assert ran.code == 2 and "not overwritten" in ran.err
    assert file.read_text() == "kept = 1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("new", "clip"), "already"),
        (("new", "My Idea"), "cannot be the name"),
        (("new", "../evil"), "cannot be the name"),
        (("new", "my-idea", "--out", "other.py"), "my_idea.py"),
        (("new", "my-idea", "--out", "my_idea.txt"), "my_idea.py"),
        (("new",), "vclip methods new NAME"),
        (("nwe", "my-idea"), "vclip methods new NAME"),
        (("--out", "my_idea.py"), "vclip methods new NAME"),
    ],
)
def test_what_methods_refuses(vclip: Callable, arguments: tuple[str, ...], words: str) -> None:
    ran = vclip("methods", *arguments)
    assert ran.code == 2 and words in ran.err
    assert not list(Path().rglob("*.py"))


# Errors in a user's own file ----------------------------------------------------------------------

METHOD = """from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.contract import Adapter, Trainable
from torch import nn, zeros


class Faulty(ClipAdapter):
    name = "faulty"
    summary = "Fails where the test says"
    cacheable = "none"

    def __init__(self, backbone, config=None):
        super().__init__(backbone, config)
        self.offset = nn.Parameter(zeros(1))

    def trainable(self):
        return {"offset": Trainable(self.offset)}

    def score(self, video, text):
        return super().score(video, text) + self.offset

"""
LINE = METHOD.count("\n") + 2


def write(body: str, method: str = METHOD, folder: Path = Path(".vclip/adapters")) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faulty.py").write_text(method + body)


@pytest.mark.parametrize("run", [EVAL, TRAIN], ids=["eval", "train"])
@pytest.mark.parametrize(
    ("header", "statement", "error"),
    [
        ("encode_video(self, frames)", "return frames.nothing", "AttributeError"),
        ("encode_text(self, prompts)", "return 1 / 0", "ZeroDivisionError"),
        ("pool_frames(self, embeddings)", "return {}['key']", "KeyError: 'key'"),
        ("score(self, video, text)", "raise ValueError('no score')", "ValueError: no score"),
    ],
)
def test_an_error_in_a_users_method_names_its_line(
    vclip: Callable, run: tuple, header: str, statement: str, error: str
) -> None:
    write(f"    def {header}:\n        {statement}\n")
    ran = vclip(*run, "-m", "faulty", "--out", "run")
    assert ran.code == 1
    assert f"faulty.py:{LINE}" in ran.err and error in ran.err
    assert "your own file" in ran.err
    assert "fault of vclip" not in ran.err and "report it" not in ran.err
    assert "Traceback" not in ran.err


def test_an_error_in_the_loss_names_its_line(vclip: Callable) -> None:
    write("    def penalty(self, frames, video):\n        raise RuntimeError('bad loss')\n")
    ran = vclip(*TRAIN, "-m", "faulty", "--out", "run")
    assert ran.code == 1
    assert f"faulty.py:{LINE}" in ran.err and "RuntimeError: bad loss" in ran.err
    assert "fault of vclip" not in ran.err
    assert "Traceback" in vclip(*TRAIN, "-m", "faulty", "--out", "run", "-v").err


def test_an_error_in_a_file_of_vclip_path_names_its_line(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        "    def encode_text(self, prompts):\n        return 1 / 0\n", folder=Path("own/adapters")
    )
    monkeypatch.setenv("VCLIP_PATH", "own")
    ran = vclip(*EVAL, "-m", "faulty", "--out", "run")
    assert ran.code == 1
    assert f"faulty.py:{LINE}" in ran.err and "your own file" in ran.err


def test_an_error_while_an_adapter_is_built_names_its_line(vclip: Callable) -> None:
    write("", METHOD.replace("zeros(1)", "zeros(1, 2, 3).nothing"))
    line = METHOD[: METHOD.index("self.offset =")].count("\n") + 1
    ran = vclip(*EVAL, "-m", "faulty", "--out", "run")
    assert ran.code == 1
    assert f"faulty.py:{line}" in ran.err and "AttributeError" in ran.err
    assert "fault of vclip" not in ran.err


@pytest.mark.parametrize(
    ("body", "line", "words"),
    [
        ("import nothing_of_that_name\n", LINE - 1, "nothing_of_that_name"),
        ("def broken(:\n", LINE - 1, "SyntaxError"),
        ("\n\n1 / 0\n", LINE + 1, "division by zero"),
    ],
)
def test_an_error_on_import_names_its_line(
    vclip: Callable, body: str, line: int, words: str
) -> None:
    write(body)
    for run in (EVAL, TRAIN, ("methods",)):
        ran = vclip(*run) if run == ("methods",) else vclip(*run, "-m", "faulty", "--out", "run")
        assert ran.code == 3
        assert f"faulty.py:{line}" in ran.err and words in ran.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("(ClipAdapter)", "(Adapter)"), "lacks encode_text, encode_video"),
        (("name = ", "title = "), "one Adapter class with name = 'faulty'"),
    ],
)
def test_an_incomplete_adapter_is_refused(
    vclip: Callable, change: tuple[str, str], words: str
) -> None:
    write("", METHOD.replace(*change))
    ran = vclip(*EVAL, "-m", "faulty", "--out", "run")
    assert ran.code == 3 and words in ran.err and "faulty.py" in ran.err


def test_an_encode_video_that_would_not_be_called_is_refused(vclip: Callable) -> None:
    write(
        "    def encode_video(self, frames):\n        return super().encode_video(frames)\n",
        METHOD.replace('    cacheable = "none"\n', ""),
    )
    ran = vclip(*EVAL, "-m", "faulty", "--out", "run")
    assert ran.code == 3
    assert "encode_video" in ran.err and "cacheable = 'none'" in ran.err
