"""Training through the command line, on the embedded clips and a random tiny backbone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from vclip_cli.common.files import sha256_file
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder
from vclip_cli.models import load_adapter
from vclip_cli.models.checkpoint import read_info
from vclip_cli.results.record import read_record

METHODS = ("vifi-clip", "vl-prompt", "vita-clip", "x-clip")
SMALL = (
    "--dataset", "toy", "--pretrained", "random", "--limit", 16, "--set", "epochs=2",
    "--set", "batch_size=8", "--set", "learning_rate=2e-3",
)  # fmt: skip


def _train(method: str, *more: object, protocol: str = "few-shot") -> tuple:
    shots = ("--shots", 2) if protocol == "few-shot" else ()
    return ("train", "-p", protocol, "-m", method, "--seed", 1, *shots, *SMALL, *more)


@pytest.mark.parametrize("method", METHODS)
def test_train_then_evaluate(vclip: Callable, method: str) -> None:
    trained = vclip(*_train(method, "--out", "run", "--json", "--set", "bridge=null"))
    assert trained.code == 0, trained.err
    document = json.loads(trained.out)
    assert document["steps"] == 4
    assert np.isfinite(document["loss"])
    adapter = load_adapter("run/checkpoint.safetensors")
    assert adapter.name == method
    assert set(load_file("run/checkpoint.safetensors")) == set(adapter.trainable())
    tested = vclip(
        "eval", "-p", "few-shot", "-d", "toy", "--checkpoint", "run/checkpoint.safetensors",
        "--limit", 6, "--out", "test",
    )  # fmt: skip
    assert tested.code == 0, tested.err
    [path] = Path("test").rglob("record.json")
    record = read_record(path)
    assert record.adapter.name == method
    assert record.seeds["train"] == 1
    assert record.protocol.shots == 2
    assert {override.field for override in record.overrides} >= {
        "training.optimizer.learning_rate",
        "training.schedule.epochs",
    }


def test_two_runs_and_any_number_of_workers_give_the_same_weights(vclip: Callable) -> None:
    few = ("--set", "frames=2", "--set", "epochs=1")
    for out, workers in (("a", 0), ("b", 0), ("c", 2)):
        assert vclip(*_train("x-clip", *few, "--workers", workers, "--out", out)).code == 0
    first = Path("a/checkpoint.safetensors").read_bytes()
    assert Path("b/checkpoint.safetensors").read_bytes() == first
    assert Path("c/checkpoint.safetensors").read_bytes() == first


def test_another_seed_gives_other_weights(vclip: Callable) -> None:
    for seed in (1, 0):
        run = _train("vita-clip", "--out", f"seed{seed}", "--seed", seed)
        assert vclip(*run).code == 0
    assert read_info(Path("seed0/checkpoint.safetensors")).training["seed"] == 0
    one, zero = (load_file(f"seed{seed}/checkpoint.safetensors") for seed in (1, 0))
    assert any(not one[name].equal(zero[name]) for name in one)


def test_batch_of_8_and_2_accumulated_4_times_update_alike(vclip: Callable) -> None:
    mixed = ("--set", "augmentation.mixup=0.8", "--set", "augmentation.cutmix=1.0")
    # Vita-CLIP's own rate. Where the true gradient is nothing, Adam divides noise by noise: how
    # much of that shows differs between processors, unless epsilon is above the noise.
    mixed += ("--set", "learning_rate=4e-4", "--set", "epsilon=1e-6")
    for size in (8, 2):
        run = _train("vita-clip", *mixed, "--set", "steps=1", "--out", f"of{size}")
        assert vclip(*run, "--batch-size", size).code == 0
    eight, two = (load_file(f"of{size}/checkpoint.safetensors") for size in (8, 2))
    start = vclip(*_train("vita-clip", *mixed, "--set", "steps=1", "--out", "x", "--dry-run"))
    assert start.code == 0
    for name in eight:
        np.testing.assert_allclose(eight[name], two[name], atol=1e-6, rtol=0)


def test_killed_and_resumed_training_ends_with_the_same_bits(vclip: Callable) -> None:
    steps = ("--set", "steps=20", "--set", "batch_size=4", "--batch-size", "4")
    run = _train("x-clip", *steps, "--save-every", "10")
    whole = vclip(*run, "--out", "whole")
    assert whole.code == 0, whole.err
    command = [sys.executable, "-m", "vclip_cli", *map(str, run), "--out", "killed"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not Path("killed/resume.pt").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not Path("killed/checkpoint.safetensors").exists(), "it had ended before the kill"
    assert vclip(*run, "--out", "killed").code == 0
    assert not Path("killed/resume.pt").exists()
    name = "checkpoint.safetensors"
    assert Path("whole", name).read_bytes() == Path("killed", name).read_bytes()
    assert Path("whole/loss.csv").read_bytes() == Path("killed/loss.csv").read_bytes()


def test_a_finished_run_is_not_repeated_and_another_is_not_overwritten(vclip: Callable) -> None:
    assert vclip(*_train("vita-clip", "--out", "run")).code == 0
    written = Path("run/checkpoint.safetensors").stat().st_mtime_ns
    again = vclip(*_train("vita-clip", "--out", "run"))
    assert again.code == 0 and "already trained" in again.err
    assert Path("run/checkpoint.safetensors").stat().st_mtime_ns == written
    other = vclip(*_train("vita-clip", "--out", "run", "--set", "epochs=1"))
    assert other.code == 2 and "other settings" in other.err


def test_selection_is_on_a_split_that_is_not_tested(vclip: Callable) -> None:
    run = vclip(*_train("vita-clip", "--select-on", "validation", "--out", "run", "--json"))
    assert run.code == 0, run.err
    selected = json.loads(run.out)["selected"]
    assert selected["select_on"] == "validation"
    assert selected["epoch"] in (1, 2)
    assert read_info(Path("run/checkpoint.safetensors")).training["selected"] == selected
    refused = vclip(*_train("vita-clip", "--select-on", "test", "--out", "other"))
    assert refused.code == 6
    unknown = vclip(*_train("vita-clip", "--select-on", "val", "--out", "other"))
    assert unknown.code == 2


def test_prompting_starts_from_a_tuned_checkpoint_and_carries_it(vclip: Callable) -> None:
    assert vclip(*_train("vifi-clip", "--out", "tuned")).code == 0
    start = ("--start-from", "tuned/checkpoint.safetensors")
    bridged = vclip(*_train("vl-prompt", *start, "--out", "prompted"))
    assert bridged.code == 0, bridged.err
    tuned = load_file("tuned/checkpoint.safetensors")
    carried = load_file("prompted/checkpoint.safetensors")
    assert set(tuned) < set(carried)
    assert all(carried[name].equal(value) for name, value in tuned.items())
    adapter = load_adapter("prompted/checkpoint.safetensors")
    assert adapter.state_dict()[next(iter(tuned))].equal(next(iter(tuned.values())))
    assert set(carried) - set(tuned) == set(adapter.trainable())


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ("learning_rte=1", 2, "'learning_rate'"),
        ("learning_rate=-1", 3, "optimizer.learning_rate"),
        ("local_promts=false", 2, "'local_prompts'"),
        ("epochs", 2, "key=value"),
        ("augmentation.crop=big", 3, "augmentation.crop"),
    ],
)
def test_settings_that_make_no_sense(vclip: Callable, settings: str, code: int, words: str) -> None:
    run = vclip(*_train("vita-clip", "--out", "run", "--set", settings))
    assert run.code == code, run.err
    assert words in run.err
    assert not Path("run").exists()


def test_what_trains_nothing_is_said(vclip: Callable) -> None:
    run = vclip(*_train("clip", "--out", "run"))
    assert run.code == 2
    assert "nothing to train" in run.err


def test_trained_on_what_is_tested_is_refused_unless_allowed(vclip: Callable) -> None:
    assert vclip(*_train("vita-clip", "--out", "run")).code == 0
    rows = Path("run/train.csv").read_text().splitlines()
    checkpoint = ("--checkpoint", "run/checkpoint.safetensors")
    own = Path(".vclip/protocols")
    own.mkdir(parents=True)
    (own / "memory.yaml").write_text(
        "name: memory\nversion: 1\ntitle: t\nsource: s\nframes: 8\nmetrics: [top1]\n"
        "test:\n  - {dataset: toy, split: train, classes: base}\n"
    )
    run = ("eval", "-p", "memory", "-d", "toy", *checkpoint, "--limit", 5)
    refused = vclip(*run, "--out", "no")
    assert refused.code == 6, refused.err
    assert f"{len(rows) - 1} training videos" in refused.err
    assert "448 test videos" in refused.err
    assert vclip(*run, "--out", "yes", "--allow-overlap").code == 0
    [path] = Path("yes").rglob("record.json")
    record = read_record(path)
    assert record.overlap_allowed
    assert "were trained on" in record.marks[0]


def test_class_specific_context_refuses_other_classes(vclip: Callable) -> None:
    specific = _train("vita-clip", "--set", "class_specific=true", protocol="base-to-novel")
    assert vclip(*specific, "--out", "run").code == 0
    tested = vclip(
        "eval", "-p", "base-to-novel", "-d", "toy", "--checkpoint", "run/checkpoint.safetensors",
    )  # fmt: skip
    assert tested.code == 6
    assert "tied to its training classes" in tested.err


def test_a_matrix_is_run_skipped_and_tabulated(vclip: Callable) -> None:
    run = (
        "run", "-p", "base-to-novel", "-d", "toy", "--methods", "clip,vita-clip", "--seeds", "1,2",
        "--pretrained", "random", "--limit", 28, "--set", "epochs=1", "--out", "matrix", "--json",
    )  # fmt: skip
    first = vclip(*run)
    assert first.code == 0, first.err
    results = json.loads(first.out)["results"]
    assert [result["seed"] for result in results] == [None, 1, 2]
    written = {path: path.stat().st_mtime_ns for path in Path("matrix").rglob("*.safetensors")}
    assert len(written) == 2
    again = vclip(*run)
    assert again.code == 0
    assert {p: p.stat().st_mtime_ns for p in Path("matrix").rglob("*.safetensors")} == written
    table = vclip("table", "matrix", "--partial", "--format", "md")
    assert table.code == 0, table.err
    for word in ("base", "novel", "HM", "vita-clip", "clip", "±"):
        assert word in table.out


def test_reference_preprocessing_travels_with_the_checkpoint(vclip: Callable) -> None:
    run = _train("vifi-clip", "--set", "preprocessing=reference-video", "--out", "run")
    assert vclip(*run).code == 0
    adapter = load_adapter("run/checkpoint.safetensors")
    assert adapter.preprocessing.interpolation == "cv2-bilinear"
    assert adapter.preprocessing.resize_to == 73
    assert adapter.preprocessing.mean == (0.485, 0.456, 0.406)


def _memory_protocol() -> None:
    """A protocol that trains on what `few-shot` tests, and one that tests what it trains on."""
    own = Path(".vclip/protocols")
    own.mkdir(parents=True, exist_ok=True)
    head = "version: 1\ntitle: t\nsource: s\nframes: 8\nmetrics: [top1]\n"
    for name, train, test in (("swapped", "test", "train"), ("memory", "train", "train")):
        (own / f"{name}.yaml").write_text(
            f"name: {name}\n{head}train:\n  - {{dataset: toy, split: {train}, classes: base}}\n"
            f"test:\n  - {{dataset: toy, split: {test}, classes: base}}\n"
        )


def test_the_overlap_guard_knows_what_a_start_has_seen(vclip: Callable) -> None:
    _memory_protocol()
    first = vclip(*_train("vita-clip", "--out", "first", protocol="swapped"))
    assert first.code == 0, first.err
    start = ("--start-from", "first/checkpoint.safetensors")
    alike = ("--set", "global_prompts=8", "--set", "text_context=8")
    assert vclip(*_train("vita-clip", *start, *alike, "--out", "second")).code == 0
    ran = vclip(
        "eval", "-p", "few-shot", "-d", "toy", "--checkpoint", "second/checkpoint.safetensors"
    )
    assert ran.code == 6, ran.err
    assert "toy/test" in ran.err


def test_the_overlap_guard_knows_the_same_videos_under_another_name(vclip: Callable) -> None:
    _memory_protocol()
    assert vclip(*_train("vita-clip", "--out", "run")).code == 0
    own = Path(".vclip/protocols/shapes.yaml")
    own.write_text(
        "name: shapes\nversion: 1\ntitle: t\nsource: s\nframes: 8\nmetrics: [top1]\n"
        "test:\n  - {dataset: toy-shapes, split: train}\n"
    )
    checkpoint = ("--checkpoint", "run/checkpoint.safetensors")
    assert vclip("eval", "-p", "shapes", "-d", "toy-shapes", *checkpoint).code == 6


def test_a_start_with_other_options_is_refused(vclip: Callable) -> None:
    assert vclip(*_train("vita-clip", "--out", "first")).code == 0
    start = ("--start-from", "first/checkpoint.safetensors", "--set", "global_prompts=3")
    ran = vclip(*_train("vita-clip", *start, "--out", "second"))
    assert ran.code == 5
    assert "other options" in ran.err


def _a_clip() -> Path:
    row = open_dataset("toy").manifest.rows.iloc[0]
    prepare_videos("toy", [row["video"]])
    return toy_folder() / row["path"]


def test_predict_reads_as_the_checkpoint_was_trained(vclip: Callable) -> None:
    assert vclip(*_train("vifi-clip", "--set", "frames=4", "--out", "run")).code == 0
    video = _a_clip()
    ran = vclip(
        "predict", video, "--labels", "circle,square", "--json",
        "--checkpoint", "run/checkpoint.safetensors",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["frames"] == 4


def test_predict_refuses_classes_that_a_context_is_not_for(vclip: Callable) -> None:
    specific = _train("vita-clip", "--set", "class_specific=true", "--out", "run")
    assert vclip(*specific).code == 0
    video = _a_clip()
    checkpoint = ("--checkpoint", "run/checkpoint.safetensors")
    made_up = ",".join(f"label {number}" for number in range(28))
    assert vclip("predict", video, "--labels", made_up, *checkpoint).code == 6
    own = ",".join(reversed(open_dataset("toy").label_set.subset("base")))
    assert vclip("predict", video, "--labels", own, *checkpoint).code == 0


def test_a_recipe_in_two_stages_trains_the_first_and_begins_with_it(vclip: Callable) -> None:
    run = _train("vl-prompt", "--out", "run")
    planned = json.loads(vclip(*run, "--dry-run").out)
    assert planned["bridge"] == "vifi-clip" and planned["sources"]["start_from"] is None
    done = vclip(*run)
    assert done.code == 0, done.err
    assert "first stage: vifi-clip" in done.err
    first = Path("run/bridge/checkpoint.safetensors")
    assert read_info(first).method == "vifi-clip"
    info = read_info(Path("run/checkpoint.safetensors"))
    assert info.training["start_from"] == sha256_file(first)
    tuned, carried = load_file(first), load_file("run/checkpoint.safetensors")
    assert {name for name in tuned if name in carried} == set(tuned)
    assert all(tuned[name].equal(carried[name]) for name in tuned)
    changed = first.stat().st_mtime_ns
    assert "already trained" in vclip(*run).err
    assert first.stat().st_mtime_ns == changed
    plain = vclip(*_train("vl-prompt", "--out", "plain", "--set", "bridge=null"))
    assert plain.code == 0, plain.err
    assert not Path("plain/bridge").exists()
