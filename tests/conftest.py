"""What all tests share: an empty home, one cache of rendered clips, the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The models here are tiny: a second thread would wait more than it helps, and much more so on a
# machine that is busy otherwise. Set before torch is imported, for child processes as well.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@dataclass(frozen=True)
class Ran:
    """A command's exit code and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of the whole session: toy clips are rendered once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Every test runs in an empty folder, with an empty configuration and without a network."""
    for name in [name for name in os.environ if name.startswith("VCLIP_")]:
        if name != "VCLIP_PARITY_DIR":
            monkeypatch.delenv(name)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("VCLIP_CACHE", str(shared_cache))
    monkeypatch.setenv("VCLIP_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    # Starting a reading process takes longer than most tests; test_guarded_runs.py does it.
    monkeypatch.setenv("VCLIP_WORKERS", "0")
    yield work


@pytest.fixture
def vclip(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run a command in this process: `vclip("split", "toy", …)`."""
    from vclip_cli.__main__ import run

    def call(*arguments: object) -> Ran:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return call
