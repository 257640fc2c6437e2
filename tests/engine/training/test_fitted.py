"""Training on stored embeddings through the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from vclip_cli.models import load_adapter
from vclip_cli.models.checkpoint import read_info
from vclip_cli.results.record import read_record

METHODS = {
    "linear-probe": (),
    "tip-adapter": (),
    "tip-adapter-f": ("--recipe", "tip-adapter-f", "--frames", "8", "--set", "epochs=2"),
    "coop": ("--set", "epochs=3"),
}


def _train(kind: str, *more: object, protocol: str = "few-shot") -> tuple:
    shots = ("--shots", 2) if protocol == "few-shot" else ()
    method = "tip-adapter" if kind == "tip-adapter-f" else kind
    run = ("train", "-p", protocol, "-d", "toy", "-m", method, "--seed", 1, *shots)
    return (*run, "--pretrained", "random", "--limit", 16, *METHODS[kind], *more)


@pytest.mark.parametrize("kind", METHODS)
def test_train_then_evaluate(vclip: Callable, kind: str) -> None:
    trained = vclip(*_train(kind, "--out", "run", "--json"))
    assert trained.code == 0, trained.err
    document = json.loads(trained.out)
    assert document["steps"] >= 1 and document["loss"] > 0
    checkpoint = Path("run/checkpoint.safetensors")
    assert not [name for name in load_file(checkpoint) if name.startswith("clip.")]
    info = read_info(checkpoint)
    assert info.training["selected"] == document["selected"]
    assert info.training["trained_on"] == 16
    again = vclip(*_train(kind, "--out", "run"))
    assert again.code == 0 and "already trained" in again.err
    tested = vclip(
        "eval", "-p", "few-shot", "-d", "toy", "--checkpoint", checkpoint, "--limit", 6,
        "--out", "test",
    )  # fmt: skip
    assert tested.code == 0, tested.err
    [path] = Path("test").rglob("record.json")
    record = read_record(path)
    assert record.protocol.shots == 2 and record.seeds["train"] == 1
    assert record.video.embeddings
    counted = sum(t.parameter.numel() for t in load_adapter(checkpoint).trainable().values())
    assert record.adapter.trainable_parameters == counted


@pytest.mark.parametrize("kind", METHODS)
def test_with_and_without_the_cache_the_weights_are_the_same(vclip: Callable, kind: str) -> None:
    for out, more in (("a", ()), ("b", ()), ("c", ("--no-cache",))):
        assert vclip(*_train(kind, "--out", out, *more)).code == 0
    first = Path("a/checkpoint.safetensors").read_bytes()
    assert Path("b/checkpoint.safetensors").read_bytes() == first
    assert Path("c/checkpoint.safetensors").read_bytes() == first


def test_another_seed_gives_another_context(vclip: Callable) -> None:
    for seed in (0, 1):
        assert vclip(*_train("coop", "--seed", seed, "--out", f"seed{seed}")).code == 0
    one, zero = (load_file(f"seed{seed}/checkpoint.safetensors") for seed in (1, 0))
    assert not one["context"].equal(zero["context"])


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        ("linear-probe", ("--set", "learning_rate=1"), "optimizer.learning_rate"),
        ("linear-probe", ("--set", "epochs=1"), "schedule.epochs"),
        ("linear-probe", ("--set", "batch_size=1"), "batch_size"),
        ("coop", ("--set", "warmup_epochs=1"), "schedule.warmup_epochs"),
        ("coop", ("--set", "augmentation.flip=0.5"), "augmentation.flip"),
        ("coop", ("--select-on", "validation"), "--select-on"),
        ("tip-adapter", ("--flip",), "--flip"),
        ("tip-adapter", ("--set", "alfa=1"), "did you mean 'alpha'"),
    ],
)
def test_what_would_have_no_effect_is_refused(
    vclip: Callable, kind: str, more: tuple, words: str
) -> None:
    ran = vclip(*_train(kind, *more, "--out", "run"))
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert not Path("run").exists()


@pytest.mark.parametrize("method", ["linear-probe", "tip-adapter"])
def test_untrained_they_score_nothing(vclip: Callable, method: str) -> None:
    ran = vclip("eval", "-d", "toy", "-m", method, "--pretrained", "random", "--limit", 2)
    assert ran.code == 2
    assert "must be trained" in ran.err


def test_a_training_list_of_one_class_is_refused(vclip: Callable) -> None:
    ran = vclip(*_train("linear-probe", "--limit", 2, "--out", "run"))
    assert ran.code == 4, ran.err
    assert "at least two classes" in ran.err


def test_tied_methods_leave_out_novel_classes_and_say_so(vclip: Callable) -> None:
    run = (
        "run", "-p", "base-to-novel", "-d", "toy", "--methods", "clip,linear-probe,coop",
        "--seeds", "1", "--pretrained", "random", "--limit", 20, "--out", "matrix", "--json",
    )  # fmt: skip
    ran = vclip(*run)
    assert ran.code == 0, ran.err
    tests = {
        result["method"]: [test["test"] for test in result["tests"]]
        for result in json.loads(ran.out)["results"]
    }
    assert [len(names) for names in tests.values()] == [2, 1, 2]
    assert tests["linear-probe"][0].endswith("/base")
    assert "tied to its training classes" in ran.err
    table = vclip("table", "matrix", "--partial", "--format", "md")
    assert table.code == 0, table.err
    assert "linear-probe" in table.out and "coop" in table.out
    alone = vclip(
        "eval", "-p", "base-to-novel", "-d", "toy",
        "--checkpoint", "matrix/toy_linear-probe_16shots_seed1/train/checkpoint.safetensors",
    )  # fmt: skip
    assert alone.code == 6


def test_the_counts_of_what_trains_make_sense(vclip: Callable) -> None:
    from vclip_cli.models.registry import count_trainable

    counted = {name: facts["trainable"] for name, facts in count_trainable("toy").items()}
    assert counted["linear-probe, 400 classes"] == 400 * (128 + 1)
    assert counted["tip-adapter"] == 0
    assert counted["tip-adapter, keys tuned, 16 shots of 400 classes"] == 400 * 16 * 128
    assert counted["coop"] % 16 == 0 and counted["coop"] > 0


@pytest.mark.parametrize("protocol", ["few-shot", "base-to-novel", "supervised"])
def test_every_protocol_has_a_recipe_or_the_papers_own(vclip: Callable, protocol: str) -> None:
    for kind in ("linear-probe", "tip-adapter", "coop"):
        planned = vclip(*_train(kind, "--dry-run", protocol=protocol))
        assert planned.code == 0, planned.err
        assert json.loads(planned.out)["steps"] is None
