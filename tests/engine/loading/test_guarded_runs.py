"""Commands as they are typed, without options about workers: bad clips cost themselves alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from make_clips import write_clip

from vclip_cli.engine.specs import memory_is_known
from vclip_cli.results.predictions import read_predictions
from vclip_cli.results.record import read_record

MISBEHAVE = '''
"""In reading processes, opening a file by one of three names ends badly."""
import multiprocessing, os, signal, sys, time

def hook(event, arguments):
    if event != "open" or multiprocessing.parent_process() is None:
        return
    name = os.path.basename(str(arguments[0]))
    if name == "crash.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang.mp4":
        time.sleep(600)
    if name == "grow.mp4":
        hoard = [bytearray(b"x" * 50_000_000) for _ in range(100)]

sys.addaudithook(hook)
'''
REASONS = {
    "left/crash": "the reading process died (SIGSEGV)",
    "right/grow": "reading it needs more than 200 MB",
    "right/hang": "not read within 5 s",
}
BOUNDS = ("--video-timeout", 5, "--limit-memory", 200)

pytestmark = pytest.mark.skipif(not memory_is_known(), reason="--limit-memory needs Linux")


@pytest.fixture
def bad() -> list[str]:
    """Those of the bad clips that a test has to do with: each takes its time."""
    return ["left/crash"]


@pytest.fixture
def wild(vclip: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: list[str]) -> Path:
    """A dataset `wild` with clips that end their readers, and `tame` without them."""
    monkeypatch.delenv("VCLIP_WORKERS")
    good = write_clip(tmp_path / "good.mp4", 12).read_bytes()
    for dataset in ("tame", "wild"):
        names = ["left/a", "left/b", "right/c", "right/d", *bad]
        for name in names[:4] if dataset == "tame" else names:
            path = tmp_path / dataset / f"{name}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(good)
        assert vclip("data", "add", dataset, "--videos", tmp_path / dataset).code == 0
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(MISBEHAVE)
    before = os.environ.get("PYTHONPATH")
    paths = [str(tmp_path / "hook"), *([before] if before else [])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path / "wild"


def _answers(ran: object) -> dict:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


@pytest.mark.parametrize("bad", [list(REASONS)])
def test_eval(vclip: Callable, wild: Path) -> None:
    records = {}
    for dataset in ("tame", "wild"):
        options = ("--backbone", "toy", "--out", dataset, "--no-cache", *BOUNDS)
        assert vclip("eval", "-d", dataset, *options).code == 0
        [path] = Path(dataset).rglob("record.json")
        records[dataset] = read_record(path)
    failures = {failure.video: failure.reason for failure in records["wild"].failures}
    assert failures == REASONS and not records["tame"].failures
    found = {
        name: read_predictions(next(Path(name).rglob("predictions.parquet"))) for name in records
    }
    assert found["wild"].videos == found["tame"].videos
    assert found["wild"].scores.tobytes() == found["tame"].scores.tobytes()


@pytest.mark.parametrize("bad", [["left/crash", "right/grow"]])
def test_extract(vclip: Callable, wild: Path) -> None:
    done = _answers(vclip("extract", "wild", "--frames", 4, *BOUNDS, "--json"))
    failures = {row["video"]: row["reason"] for row in done["failures"]}
    assert failures == {name: REASONS[name] for name in ("left/crash", "right/grow")}
    assert done["stored"] == 4


def test_embed_and_nothing_is_started_where_all_is_there(
    vclip: Callable, wild: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = ("embed", "wild", "--backbone", "toy", "--json")
    done = _answers(vclip(*embed, *BOUNDS))
    assert [row["reason"] for row in done["failures"]] == [REASONS["left/crash"]]
    assert done["encoded"] == 4
    evaluate = ("eval", "-d", "tame", "--backbone", "toy", "--json", "--out")
    extract = ("extract", "tame", "--frames", 4, "--json")
    _answers(vclip(*evaluate, "one"))
    _answers(vclip(*extract))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a worker was started for nothing")

    monkeypatch.setattr("pebble.ProcessPool", refuse)
    _answers(vclip(*evaluate, "two"))
    assert _answers(vclip(*extract))["written"] == 0


@pytest.mark.slow
def test_train(vclip: Callable, wild: Path) -> None:
    good = (wild / "left" / "a.mp4").read_bytes()
    for name in ("train/left/crash", "train/right/c", "test/left/x", "test/right/y"):
        path = Path("sorted", f"{name}.mp4")
        path.parent.mkdir(parents=True)
        path.write_bytes(good)
    assert vclip("data", "add", "sorted", "--videos", "sorted").code == 0
    ran = vclip(
        "train", "-p", "few-shot", "-d", "sorted", "-m", "x-clip", "--backbone", "toy",
        "--shots", 1, "--seed", 1, "--set", "steps=2", "--set", "batch_size=2", "--out", "run",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    lines = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    texts = [line["text"] for line in lines if line["event"] == "warning"]
    assert texts == [f"'train/left/crash' cannot be read: {REASONS['left/crash']}"]


def test_predict_and_data_check(vclip: Callable, wild: Path) -> None:
    files = [wild / f"{name}.mp4" for name in ("left/a", "left/crash", "right/c")]
    ran = vclip("predict", *files, "-l", "left,right", "--backbone", "toy", "--json")
    assert ran.code == 4
    first, second, third = json.loads(ran.out)["predictions"]
    assert second["error"]["what"] == REASONS["left/crash"]
    assert first["labels"] == third["labels"]
    ran = vclip("data", "check", "wild", "--json")
    assert ran.code == 4
    assert json.loads(ran.out)["unreadable"] == {"left/crash.mp4": REASONS["left/crash"]}
