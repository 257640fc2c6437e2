"""`vclip guide` shows the documents that ship with the package."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS


def test_without_a_page_the_pages_are_listed(vclip: Callable[..., Any]) -> None:
    listed = json.loads(vclip("guide", "--json").out)["pages"]
    assert {"datasets", "python", "settings"} <= {row["name"] for row in listed}
    assert all(Path(row["file"]).is_file() for row in listed)
    plain = vclip("guide")
    assert plain.code == 0
    for row in listed:
        assert row["name"] in plain.out
        assert row["title"] and row["summary"].endswith(".")


@pytest.mark.parametrize("asked", ["python", "Python", "python.md"])
def test_a_page_is_printed_as_it_is_where_stdout_is_no_terminal(
    asked: str, vclip: Callable[..., Any]
) -> None:
    ran = vclip("guide", asked)
    assert ran.code == 0
    assert ran.out == (DOCS / "python.md").read_text(encoding="utf-8")


def test_a_page_on_a_terminal_is_laid_out(
    vclip: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vclip_cli.cli.guide.is_terminal", lambda: True)
    ran = vclip("guide", "python")
    assert ran.code == 0
    assert "```" not in ran.out and "model.classify" in ran.out


def test_a_page_as_json(vclip: Callable[..., Any]) -> None:
    page = json.loads(vclip("guide", "index", "--json").out)
    assert page["name"] == "index" and page["text"].startswith("# ")


def test_an_unknown_page_gets_near_misses(vclip: Callable[..., Any]) -> None:
    ran = vclip("guide", "pyton")
    assert ran.code == 2
    assert "python" in ran.err


def test_the_guide_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from vclip_cli.__main__ import run\n"
        "assert run(['guide', 'index']) == 0\n"
        "heavy = {'torch', 'open_clip', 'pandas', 'sklearn', 'rich.markdown'}\n"
        "print('LOADED', *heavy & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rpartition("LOADED")[2].split() == []
