"""Zero-shot evaluation end to end on rendered clips: exact, repeatable, resumable."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder
from vclip_cli.results.predictions import read_predictions
from vclip_cli.results.record import read_record, record_fingerprint

EVAL = ("eval", "--protocol", "zero-shot", "--dataset", "toy", "--limit", "12")
ENCODE = "--no-cache"
"""For what is about decoding and encoding itself: the tests share one cache."""


def _folder(out: str) -> Path:
    return Path(out) / "toy_test"


def test_same_command_twice_gives_the_same_bytes(vclip: Callable) -> None:
    first = vclip(*EVAL, "--out", "a")
    assert first.code == 0, first.err
    (Path("a") / "toy_test").rename("kept")
    shutil.rmtree("a")
    assert vclip(*EVAL, "--out", "a").code == 0
    kept = Path("kept") / "predictions.parquet"
    assert kept.read_bytes() == (_folder("a") / "predictions.parquet").read_bytes()
    records = [read_record(folder / "record.json") for folder in (Path("kept"), _folder("a"))]
    assert record_fingerprint(records[0]) == record_fingerprint(records[1])
    texts = [
        json.loads((folder / "record.json").read_text()) for folder in (Path("kept"), _folder("a"))
    ]
    for text in texts:
        del text["timing"]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("options", [("--batch-size", 1), ("--batch-size", 3), ("--workers", 2)])
def test_batches_and_workers_change_nothing(vclip: Callable, options: tuple) -> None:
    assert vclip(*EVAL, ENCODE, "--out", "plain", "--batch-size", 8).code == 0
    assert vclip(*EVAL, ENCODE, "--out", "other", *options).code == 0
    for name in ("toy_test", "toy_zero-shot"):
        plain = read_predictions(Path("plain") / name / "predictions.parquet")
        other = read_predictions(Path("other") / name / "predictions.parquet")
        assert plain.videos == other.videos
        assert (plain.scores.argmax(1) == other.scores.argmax(1)).all()
        np.testing.assert_allclose(plain.scores, other.scores, atol=1e-5, rtol=0)


def test_exactly_the_listed_ids_are_scored_in_order(vclip: Callable) -> None:
    dataset = open_dataset("toy")
    rows = dataset.manifest.rows
    listed = rows[rows["splits"] == "zero-shot"]["video"].tolist()
    run = ("eval", "--dataset", "toy", "--split", "zero-shot", "--batch-size", 9, "--out", "all")
    assert vclip(*run).code == 0
    predictions = read_predictions(Path("all/toy_zero-shot/predictions.parquet"))
    assert list(predictions.videos) == listed
    record = read_record(Path("all/toy_zero-shot/record.json"))
    assert record.counts.listed == record.counts.scored == len(listed)
    assert not record.partial
    classes = set(rows[rows["splits"] == "zero-shot"]["class"])
    assert set(record.dataset.classes) == classes


def test_a_finished_run_is_not_repeated_and_another_is_not_overwritten(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "run").code == 0
    written = (_folder("run") / "predictions.parquet").stat().st_mtime_ns
    again = vclip(*EVAL, "--out", "run")
    assert again.code == 0
    assert "already there" in again.err
    assert (_folder("run") / "predictions.parquet").stat().st_mtime_ns == written
    other = vclip(*EVAL, "--out", "run", "--frames", 4)
    assert other.code == 2
    assert "other settings" in other.err and "differs in frames" in other.err
    trained = vclip(
        *("train", "-p", "few-shot", "-m", "linear-probe", "-d", "toy", "--shots", 2),
        *("--out", "run"),
    )
    assert trained.code == 2 and "a run of vclip eval" in trained.err
    old = json.loads(Path("run/run.json").read_text())
    Path("run/run.json").write_text(json.dumps({"sha256": old["sha256"][::-1]}))
    assert "version 0.1" in vclip(*EVAL, "--out", "run").err
    assert vclip(*EVAL, "--out", "run", "--frames", 4, "--no-resume").code == 0
    assert read_record(_folder("run") / "record.json").video.frames == 4


def test_a_changed_predictions_file_is_made_again(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "run").code == 0
    path = _folder("run") / "predictions.parquet"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"?")
    assert vclip(*EVAL, "--out", "run").code == 0
    assert path.read_bytes() == good


def test_no_resume_leaves_no_record_of_another_run(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "run").code == 0
    other = ("eval", "-d", "toy-shapes", "--limit", 3, "--out", "run")
    assert vclip(*other).code == 2
    assert vclip(*other, "--no-resume").code == 0
    assert [path.parent.name for path in Path("run").rglob("record.json")] == ["toy-shapes_test"]


def test_overrides_of_the_protocol_are_recorded(vclip: Callable) -> None:
    run = vclip(*EVAL, "--out", "run", "--frames", 4, "--template", "a video of a {class}.")
    assert run.code == 0
    record = read_record(_folder("run") / "record.json")
    changed = {override.field: (override.protocol, override.used) for override in record.overrides}
    assert changed["frames"] == (8, 4)
    assert changed["templates"][1] == ["a video of a {class}."]
    assert record.partial


def _damaged_copy(tmp_path: Path) -> Path:
    """A folder of class folders with ten rendered clips, three of them damaged."""
    dataset = open_dataset("toy")
    rows = dataset.manifest.rows.iloc[:10]
    prepare_videos("toy", rows["video"].tolist())
    root = tmp_path / "mine"
    for path, name in zip(rows["path"], rows["class"], strict=True):
        target = root / name / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(toy_folder() / path, target)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    files[1].write_bytes(b"")
    files[4].write_bytes(files[4].read_bytes()[:300])
    files[7].write_text("this is no video")
    return root


def test_damaged_videos_are_recorded_and_the_rest_goes_on(vclip: Callable, tmp_path: Path) -> None:
    root = _damaged_copy(tmp_path)
    assert vclip("data", "add", "mine", "--videos", root).code == 0
    run = vclip("eval", "-p", "zero-shot", "-d", "mine", "--backbone", "toy", "--out", "run")
    assert run.code == 0, run.err
    assert "7 / 10" in run.out
    [path] = Path("run").rglob("record.json")
    record = read_record(path)
    assert (record.counts.listed, record.counts.scored, record.counts.failed) == (10, 7, 3)
    assert len({failure.video for failure in record.failures}) == 3
    assert all(failure.reason for failure in record.failures)
    table = vclip("table", "run")
    assert table.code == 0
    assert "7" in table.out and "10" in table.out


def test_unreadable_videos_stop_a_run_or_count_as_wrong(vclip: Callable, tmp_path: Path) -> None:
    root = _damaged_copy(tmp_path)
    assert vclip("data", "add", "mine", "--videos", root).code == 0
    run = ("eval", "-p", "zero-shot", "-d", "mine", "--backbone", "toy")
    stopped = vclip(*run, "--on-error", "stop", "--out", "stopped")
    assert stopped.code == 4 and "cannot be read" in stopped.err
    assert vclip("doctor", "--run", "stopped").out.count("failed") >= 1
    assert vclip(*run, "--on-error", "leave", "--out", "x").code == 2
    found = {}
    for how in ("skip", "count-as-wrong"):
        assert vclip(*run, "--on-error", how, "--out", how).code == 0
        [path] = Path(how).rglob("record.json")
        found[how] = read_record(path)
        assert vclip("verify", how).code == 0
    skipped, wrong = found["skip"], found["count-as-wrong"]
    assert (skipped.metrics["top1"].n, wrong.metrics["top1"].n) == (7, 10)
    right = skipped.metrics["top1"].value * 7 / 100
    assert wrong.metrics["top1"].value == pytest.approx(100 * right / 10)
    assert wrong.metrics["top5"].value < skipped.metrics["top5"].value
    assert wrong.metrics["mean_class_accuracy"].value < skipped.metrics["top1"].value or not right
    assert "3 videos that could not be read count as wrong" in wrong.marks


def test_what_is_absent_or_unlisted_is_carried_into_the_record(
    vclip: Callable, tmp_path: Path
) -> None:
    root = _damaged_copy(tmp_path)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    listed = [f"{path.as_posix()},{path.parts[0]}" for path in files[:3]]
    lines = ["video,class", *listed, f"{files[0].parent}/gone.mp4,{files[0].parts[0]}"]
    Path("list.csv").write_text("\n".join(lines) + "\n")
    added = vclip("data", "add", "mine", "--videos", root, "--annotations", "list.csv")
    assert added.code == 0, added.err
    run = vclip("eval", "-d", "mine", "--backbone", "toy", "--out", "run")
    assert run.code == 0, run.err
    [path] = Path("run").rglob("record.json")
    record = read_record(path)
    assert (record.dataset.absent, record.dataset.unlisted) == (1, 7)
    assert record.counts.listed == 4
    assert (
        "not on disk"
        in {failure.video: failure.reason for failure in record.failures}[f"{files[0].parent}/gone"]
    )


def test_a_dataset_of_damaged_videos_only_is_an_error(vclip: Callable, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = tmp_path / "broken" / name
        folder.mkdir(parents=True)
        (folder / "clip.mp4").write_bytes(b"nothing")
    assert vclip("data", "add", "broken", "--videos", tmp_path / "broken").code == 0
    run = vclip("eval", "-d", "broken", "--backbone", "toy", "--out", "run")
    assert run.code == 4
    assert "none of the 2 listed videos" in run.err
    assert not list(Path("run").rglob("record.json"))


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(vclip: Callable) -> None:
    run = ("eval", "--dataset", "toy", "--split", "test", "--batch-size", "16", ENCODE)
    assert vclip(*run, "--out", "whole").code == 0  # also renders the clips
    command = [sys.executable, "-m", "vclip_cli", *run, "--out", "killed"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not list(Path("killed").rglob("*.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    parts = list(Path("killed").rglob("*.safetensors"))
    assert parts, "the run had ended before it could be killed"
    before = {part: part.stat().st_mtime_ns for part in parts}
    assert not list(Path("killed").rglob("record.json"))
    resumed = vclip(*run, "--out", "killed")
    assert resumed.code == 0, resumed.err
    assert before  # what was whole was not done again: see the progress line
    name = "toy_test/predictions.parquet"
    assert (Path("whole") / name).read_bytes() == (Path("killed") / name).read_bytes()
    records = [read_record(Path(f) / "toy_test" / "record.json") for f in ("whole", "killed")]
    prints = [record.model_copy(update={"command": []}) for record in records]
    assert record_fingerprint(prints[0]) == record_fingerprint(prints[1])


def _heed_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_has_its_code_and_leaves_nothing_half_written(
    number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "vclip_cli", "eval", "-d", "toy", ENCODE, "--out", "run"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_ctrl_c,
    )
    deadline = time.monotonic() + 120
    while not (Path("run") / "run.json").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert "continues from here" in err
    assert not list(Path("run").rglob("*.part"))
