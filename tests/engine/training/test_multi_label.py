"""Training with several labels per video through the command line, and its memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from memory_of_a_step import peak_bytes
from safetensors.torch import load_file
from tiny_clip import FRAMES, random_video, tiny_backbone
from tiny_language_model import write_tiny_language_model

from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.training.step import TrainingForward
from vclip_cli.engine.training.targets import draw_labels, losses_of_videos, pad_labels
from vclip_cli.models.adapters.ov_multilabel import OvMultilabelAdapter, OvMultilabelConfig
from vclip_cli.models.checkpoint import read_info
from vclip_cli.results.record import read_record

SMALL = ("train", "-p", "multi-label", "-d", "toy-multi", "--seed", 1, "--limit", 8)
SMALL += ("--set", "epochs=1", "--set", "batch_size=8")


def test_ten_thousand_labels_take_the_memory_of_five_hundred(tmp_path: Path) -> None:
    model = write_tiny_language_model(tmp_path / "lm")
    config = OvMultilabelConfig(language_model=str(model), frames=FRAMES)
    adapter = OvMultilabelAdapter(tiny_backbone(), config)
    adapter.freeze_all_but_trainable()
    frames = random_video(frames=FRAMES)
    targets = pad_labels([(1, 5), (400,)])

    def step(count: int) -> None:
        forward = TrainingForward(adapter, [[f"label {number}."] for number in range(count)])
        labels = draw_labels([1, 5, 400], count, 100, seed=1)
        logits, penalty = forward(frames, labels.indices)
        losses = losses_of_videos(
            logits, targets, None, classes=count, smoothing=0, labels=labels,
            probability={"slope": 1.0, "bias": 0.0},
        )  # fmt: skip
        (losses + penalty).sum().backward()

    step(401)  # gradients are allocated once
    few, many = (peak_bytes(lambda n=n: step(n)) for n in (500, 10_000))
    assert few > 1_000_000
    assert many < 1.3 * few, many / few


@pytest.mark.parametrize("method", ["vifi-clip", "vl-prompt", "vita-clip", "x-clip"])
def test_every_method_trains_and_is_scored(vclip: Callable, method: str) -> None:
    trained = vclip(*SMALL, "-m", method, "--out", "run", "--json")
    assert trained.code == 0, trained.err
    facts = read_info(Path("run/checkpoint.safetensors")).training
    assert facts["probability"]["slope"] == 1
    assert set(facts["classes"]) == set(open_dataset("toy-multi").label_set.subset("seen"))
    tested = vclip(
        "eval", "-p", "multi-label", "-d", "toy-multi", "--limit", 12, "--split", "generalised",
        "--checkpoint", "run/checkpoint.safetensors", "--out", "test",
    )  # fmt: skip
    assert tested.code == 0, tested.err
    record = read_record(Path("test/toy-multi_test_generalised/record.json"))
    assert record.decision.source == "trained"
    assert record.decision.bias == facts["probability"]["bias"]
    assert record.decision.validation == "toy-multi/validation"
    assert record.decision.labels == 33


def test_selection_is_by_map(vclip: Callable) -> None:
    run = vclip(*SMALL, "-m", "vita-clip", "--select-on", "validation", "--out", "run", "--json")
    assert run.code == 0, run.err
    selected = json.loads(run.out)["selected"]
    assert selected["n"] > 40 and 0 < selected["map"] < 100


def test_workers_and_pieces_change_nothing(vclip: Callable) -> None:
    few = ("--set", "negatives=3", "--set", "learning_rate=1e-4", "--set", "frames=2")
    for out, more in (("a", ()), ("b", ("--batch-size", 2)), ("c", ("--workers", 1))):
        assert vclip(*SMALL, "-m", "vita-clip", *few, *more, "--out", out).code == 0
    first, workers = (Path(out, "checkpoint.safetensors").read_bytes() for out in "ac")
    assert workers == first
    whole, pieces = (load_file(f"{out}/checkpoint.safetensors") for out in "ab")
    for name in whole:
        torch.testing.assert_close(whole[name], pieces[name], atol=1e-5, rtol=0)


def test_label_smoothing_is_refused(vclip: Callable) -> None:
    run = vclip(*SMALL, "-m", "vita-clip", "--set", "label_smoothing=0.1", "--out", "run")
    assert run.code == 2
    assert "label smoothing" in run.err


def _extra(*lines: str) -> str:
    Path("extra.csv").write_text("\n".join(["video,label", *lines]) + "\n")
    return "extra.csv"


def test_additional_labels_join_the_vocabulary(vclip: Callable) -> None:
    file = _extra(
        "multi_train_000,something grows", "multi_train_000,something grows",
        "multi_train_001,Circle", "multi_train_003,a red thing", "multi_test_000,a red thing",
    )  # fmt: skip
    run = vclip(*SMALL, "-m", "vita-clip", "--extra-labels", file, "--out", "run")
    assert run.code == 0, run.err
    facts = read_info(Path("run/checkpoint.safetensors")).training
    assert facts["classes"][-2:] == ["something grows", "a red thing"]
    assert len(facts["extra_labels"]) == 64


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("multi_train_000,star growing", 0, ""),
        ("multi_train_000,moon growing", 6, "held out from training"),
        ("multi_train_000,", 4, "a label is empty"),
        ("nobody,a thing", 4, "not in the dataset"),
    ],
)
def test_additional_labels_that_are_wrong(vclip: Callable, line: str, code: int, said: str) -> None:
    run = vclip(*SMALL, "-m", "vita-clip", "--extra-labels", _extra(line), "--dry-run")
    assert run.code == code, run.err
    assert said in run.err


def test_additional_labels_are_for_several_labels_a_video(vclip: Callable) -> None:
    run = vclip(
        "train", "-p", "few-shot", "-d", "toy", "--shots", 2, "-m", "vita-clip",
        "--extra-labels", _extra("circle_moving_left_train_00,a thing"), "--dry-run",
    )  # fmt: skip
    assert run.code == 2
    assert "several labels" in run.err


def test_methods_fitted_to_one_class_are_refused(vclip: Callable) -> None:
    run = vclip("train", "-p", "multi-label", "-d", "toy-multi", "-m", "coop", "--out", "run")
    assert run.code == 2, run.err
    assert "one class per video" in run.err
