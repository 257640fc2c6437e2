"""stdout carries the result only, one document with --json; the rest goes to stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

LIMITED = ("eval", "-d", "toy", "--limit", 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ("doctor",), ("methods",), ("protocols",), ("protocols", "zero-shot"), ("labels", "list"),
        ("labels", "show", "toy"), ("data", "list"), (*LIMITED, "--out", "run"),
        ("demo", "--limit", 2, "--out", "demo"), (*LIMITED, "--out", "dry", "--dry-run"),
    ],
)  # fmt: skip
def test_json_is_one_document(vclip: Callable, arguments: tuple) -> None:
    ran = vclip(*arguments, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)


def test_doctor_names_what_matters(vclip: Callable) -> None:
    found = json.loads(vclip("doctor", "--json").out)
    assert {"torch", "open_clip_torch", "av", "python"} <= set(found["libraries"])
    assert set(found["decoders"]) == {"exact", "decord"}
    assert "toy" in found["names"]["datasets"]
    assert "clip" in found["names"]["methods"]
    plain = vclip("doctor")
    for section in ("vclip", "libraries", "devices", "decoders", "folders", "names"):
        assert section in plain.out


def test_quiet_says_nothing_but_the_result_and_warnings(vclip: Callable) -> None:
    ran = vclip(*LIMITED, "--out", "run", "-q")
    assert ran.code == 0
    assert "toy/test" in ran.out
    lines = [line for line in ran.err.splitlines() if line]
    assert lines and all(line.startswith("warning:") for line in lines)  # --limit is one


def test_a_dry_run_reads_no_video_and_writes_nothing(vclip: Callable) -> None:
    ran = vclip(*LIMITED, "--out", "run", "--dry-run")
    assert ran.code == 0
    plan = json.loads(ran.out)["plans"][0]
    assert [test["videos"] for test in plan["tests"]] == [280, 140]
    assert not Path("run").exists()


def test_plain_lines_where_there_is_no_terminal() -> None:
    command = [sys.executable, "-m", "vclip_cli", *map(str, LIMITED), "--out", "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "\x1b" not in done.stdout + done.stderr
    assert "scoring toy/test: 3/3" in done.stderr


def test_several_datasets_at_once(vclip: Callable) -> None:
    ran = vclip("eval", "-d", "toy", "-d", "toy-shapes", "--limit", 2, "--json")
    assert ran.code == 0
    tests = [result["test"] for result in json.loads(ran.out)["results"]]
    assert tests == ["toy/test", "toy/zero-shot", "toy-shapes/test"]


def test_views_and_crops_give_probabilities(vclip: Callable) -> None:
    from vclip_cli.results.predictions import read_predictions

    views = ("--clips", 3, "--crops", 3, "--frames", 4)
    assert vclip(*LIMITED, *views, "--out", "run").code == 0
    scores = read_predictions(Path("run/toy_test/predictions.parquet")).scores
    assert scores.shape == (3, 28)
    assert abs(scores.sum(axis=1) - 1).max() < 1e-5


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_runs(vclip: Callable, precision: str) -> None:
    ran = vclip(*LIMITED, "--precision", precision, "--device", "cpu", "--out", "run")
    assert ran.code == 0, ran.err


def test_decord_reproduces_the_published_reader(vclip: Callable) -> None:
    pytest.importorskip("decord", reason="decord has no wheel for this platform")
    ran = vclip(*LIMITED, "--decoder", "decord", "--out", "run")
    assert ran.code == 0, ran.err
    [path, *_] = Path("run").rglob("record.json")
    assert json.loads(path.read_text())["video"]["decoder"]["name"] == "decord"


def test_methods_count_what_trains(vclip: Callable) -> None:
    ran = vclip("methods", "--count", "--json")
    assert ran.code == 0, ran.err
    counts = json.loads(ran.out)["trainable_parameters"]
    assert counts["clip"]["trainable"] == 0
    assert counts["vifi-clip"]["trainable"] == 124_323_841
    assert counts["vl-prompt"]["trainable"] == 9 * 16 * (768 + 512)
    assert counts["x-clip"]["trainable"] == 131_501_056


def test_no_escape_of_a_bracket_is_shown(vclip: Callable) -> None:
    shown = vclip("eval", "-d", "toy", "--split", "test", "--limit", "2")
    assert shown.code == 0
    assert "top-1 accuracy [95 % interval]" in shown.out and "\\[" not in shown.out
