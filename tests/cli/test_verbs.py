"""The verbs: all are there, each is built alone, and the overview builds none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from vclip_cli.cli.verbs import VERBS

DESIGNED = (
    "demo guide data labels split extract embed train eval run predict convert table report verify"
    " bench methods protocols cache doctor"
)


def test_the_verbs_are_those_of_the_design() -> None:
    assert sorted(VERBS) == sorted(DESIGNED.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_its_help(verb: str, vclip: Callable[..., Any]) -> None:
    overview, own = vclip("--help"), vclip(verb, "--help")
    assert overview.code == own.code == 0
    assert VERBS[verb][3] in " ".join(overview.out.split())
    assert own.out.startswith(f"Usage: vclip {verb} ")


def test_the_overview_imports_no_verb() -> None:
    code = (
        "import sys\n"
        "from vclip_cli.__main__ import run\n"
        "run(['--help'])\n"
        "print('LOADED', *[m for m in sys.modules if m.startswith('vclip_cli.cli.')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert "vclip_cli.cli.verbs" in loaded
    assert not loaded & {f"vclip_cli.cli.{file}" for _, file, _, _ in VERBS.values()}


def test_an_unknown_verb_gets_near_misses(vclip: Callable[..., Any]) -> None:
    ran = vclip("spilt", "toy")
    assert ran.code == 2
    assert "'spilt'" in ran.err and "did you mean 'split'" in ran.err
