"""Protocols, label sets, adapters and backbones are found by name, nearest folder first."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vclip_cli.common.errors import UsageError
from vclip_cli.common.resources import find_yaml, list_backbones, list_yaml, shipped_folder


def _label_set(folder: Path, name: str, title: str) -> Path:
    path = folder / "label_sets" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"name: {name}\ntitle: {title}\nversion: 1\nclasses: [a, b]\n")
    return path


def test_what_ships_is_found() -> None:
    assert set(list_yaml("label_sets")) >= {
        "kinetics400", "kinetics600", "hmdb51", "ucf101", "ssv2", "charades", "toy",
    }  # fmt: skip
    assert set(list_yaml("protocols")) >= {
        "zero-shot", "few-shot", "base-to-novel", "supervised", "multi-label",
    }  # fmt: skip
    assert "toy" in list_backbones()
    assert shipped_folder("protocols").is_dir()


def test_nearer_folders_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = _label_set(Path(os.environ["VCLIP_CONFIG"]), "mine", "the user's")
    assert find_yaml("label_sets", "mine") == user
    project = _label_set(Path(".vclip"), "mine", "the project's")
    assert find_yaml("label_sets", "mine").resolve() == project.resolve()
    first, second = tmp_path / "first", tmp_path / "second"
    _label_set(second, "mine", "the second's")
    named = _label_set(first, "mine", "the first's")
    monkeypatch.setenv("VCLIP_PATH", os.pathsep.join(map(str, (first, second))))
    assert find_yaml("label_sets", "mine") == named


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = _label_set(tmp_path, "mine", "by path")
    assert find_yaml("label_sets", str(path)) == path
    with pytest.raises(UsageError, match="no such label set file"):
        find_yaml("label_sets", str(tmp_path / "other.yaml"))


def test_a_missing_folder_is_said(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCLIP_PATH", "no/such/folder")
    ran = vclip("protocols")
    assert ran.code == 2
    assert "VCLIP_PATH" in ran.err


def test_a_backbone_of_ones_own(
    vclip: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own" / "backbones"
    folder.mkdir(parents=True)
    (folder / "tinier.json").write_text(list_backbones()["toy"].read_text())
    monkeypatch.setenv("VCLIP_PATH", str(tmp_path / "own"))
    run = ("eval", "-d", "toy", "--backbone", "tinier", "--limit", 2, "--out", "run", "--json")
    without = vclip(*run)
    assert without.code == 5 and "no weights" in without.err
    assert vclip(*run, "--pretrained", "random").code == 0


def test_an_adapter_that_is_broken_says_where(
    vclip: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own" / "adapters"
    folder.mkdir(parents=True)
    monkeypatch.setenv("VCLIP_PATH", str(tmp_path / "own"))
    (folder / "half_done.py").write_text("import nothing_of_that_name\n")
    ran = vclip("eval", "-d", "toy", "-m", "half-done")
    assert ran.code == 3
    assert "half_done.py" in ran.err and "nothing_of_that_name" in ran.err
    (folder / "half_done.py").write_text("x = 1\n")
    ran = vclip("eval", "-d", "toy", "-m", "half-done")
    assert ran.code == 3
    assert "name = 'half-done'" in ran.err


def test_config_file_environment_and_flags_in_their_order(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ("eval", "-d", "toy", "--pretrained", "random", "--dry-run")

    def frames(*more: object) -> int:
        ran = vclip(*run, *more)
        assert ran.code == 0, ran.err
        return json.loads(ran.out)["plans"][0]["settings"]["frames"]

    assert frames() == 8  # the protocol's
    Path(".vclip").mkdir()
    Path(".vclip/config.yaml").write_text("frames: 5\n")
    assert frames() == 5
    monkeypatch.setenv("VCLIP_FRAMES", "6")
    assert frames() == 6
    assert frames("--frames", 7) == 7
