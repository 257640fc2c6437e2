"""Every key of a protocol changes something that can be observed, or is refused.

`SEEN_HERE` are the keys whose effect shows in lists of videos, in what `vclip protocols` prints, or
in how names are chosen. `SEEN_IN_RUNS` are the others, with where their effect is.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from make_datasets import write_hmdb, write_videos

from vclip_cli.common.errors import SpecError, UsageError, VclipError
from vclip_cli.data.dataset import Dataset, add_dataset
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, protocol_training, training_shots

RECIPE: dict[str, Any] = {
    "method": "clip",
    "source": "a paper",
    "frames": 8,
    "batch_size": 4,
    "optimizer": {"learning_rate": 0.1},
    "schedule": {"epochs": 2},
}
HALF = {"part": "base", "halves": "training-counts", "counted_in": ["train-1"]}
OWN: dict[str, Any] = {
    "name": "own",
    "version": 1,
    "title": "A title",
    "source": "A source",
    "train": [
        {"dataset": "hmdb51", "split": "train-1", "draw": "few-shot"},
        {"dataset": "ucf101", "split": "train-1", "draw": "few-shot"},
    ],
    "test": [{"dataset": "hmdb51", "split": "test-1"}, {"dataset": "hmdb51", "split": "test-2"}],
    "shots": [2],
    "seeds": [1, 2],
    "frames": 8,
    "metrics": ["top1"],
    "recipes": {"fast": RECIPE},
}

SEEN_HERE: dict[tuple[Any, ...], Any] = {
    ("name",): "other",
    ("version",): 2,
    ("title",): "Another title",
    ("source",): "Another source",
    ("kind",): "multi-label",
    ("train",): [{"dataset": "hmdb51", "split": "train-2", "draw": "few-shot"}],
    ("test",): [{"dataset": "hmdb51", "split": "test-3"}],
    ("shots",): [3],
    ("seeds",): [2],
    ("train", 0, "dataset"): "ucf101",
    ("train", 0, "split"): "train-2",
    ("train", 0, "classes"): "base",
    ("train", 0, "draw"): "base-to-novel",
    ("train", 0, "shots"): [4],
    ("train", 0, "part"): "base",
    ("train", 0): {"dataset": "hmdb51", "split": "train-1", "draw": "few-shot", **HALF},
    ("train", 0, "open_vocabulary"): True,
    ("test", 0, "optional"): True,
    ("test", 0, "classes"): "novel",
    ("test", 0, "part"): "mine",
    ("test", 0): {"dataset": "hmdb51", "split": "test-1", **HALF},
    ("frames",): 16,
    ("frames_of",): {"hmdb51": 4},
    ("views",): {"clips": 2},
    ("metrics",): ["top5"],
    ("aggregate",): {"over": ["seeds"]},
    ("recipes", "fast", "method"): "x-clip",
    ("recipes", "fast", "source"): "another paper",
    ("recipes", "fast", "datasets"): ["ucf101"],
    ("recipes", "fast", "start_from"): "weights of Kinetics",
    ("recipes", "fast", "backbone"): "RN50",
    ("recipes", "fast", "frames"): 16,
    ("recipes", "fast", "batch_size"): 8,
    ("recipes", "fast", "optimizer", "learning_rate"): 0.2,
    ("recipes", "fast", "schedule"): {"steps": 9},
    ("recipes", "fast", "notes"): "A note.",
}
SEEN_IN_RUNS = {
    "Protocol.text": "the prompts of an evaluation",
    "Text.variant": "the prompts of an evaluation, and of training in a recipe",
    "Text.templates": "the prompts of an evaluation, and of training in a recipe",
    "Views.clips": "temporal views of an evaluation",
    "Views.crops": "spatial views of an evaluation",
    "Aggregate.over": "the columns of a table",
    "Aggregate.harmonic_mean": "the columns of a table",
    "Recipe.bridge": "the checkpoint that training begins with",
    "Recipe.sampling": "frames in training and at test",
    "SamplingRules.train": "frames in training",
    "SamplingRules.test": "frames at test",
    "SamplingRules.stride": "frames, where sampling is dense",
    "Recipe.views": "views at test",
    "Recipe.text": "prompts",
    "Recipe.preprocessing": "pixels",
    "Recipe.config": "options of the method",
    "Recipe.negatives": "labels in the loss of multi-label training",
    "Recipe.augmentation": "pixels and labels in training",
    "Optimizer.name": "the weights after a step",
    "Optimizer.betas": "the weights after a step",
    "Optimizer.epsilon": "the weights after a step",
    "Optimizer.weight_decay": "the weights after a step",
    "Optimizer.decay_biases": "the weights after a step",
    "Optimizer.rate_factors": "the weights after a step",
    "Schedule.name": "learning rates",
    "Schedule.warmup_epochs": "learning rates",
    "Schedule.final_fraction": "learning rates",
    "Augmentation.crop": "pixels in training",
    "Augmentation.scales": "pixels in training",
    "Augmentation.ratio": "pixels in training",
    "Augmentation.flip": "pixels in training",
    "Augmentation.color_jitter": "pixels in training",
    "ColorJitter.probability": "pixels in training",
    "ColorJitter.brightness": "pixels in training",
    "ColorJitter.contrast": "pixels in training",
    "ColorJitter.saturation": "pixels in training",
    "ColorJitter.hue": "pixels in training",
    "ColorJitter.per_frame": "pixels in training",
    "Augmentation.grayscale": "pixels in training",
    "Augmentation.rand_augment": "pixels in training",
    "Augmentation.mixup": "pixels and labels in training",
    "Augmentation.cutmix": "pixels and labels in training",
    "Augmentation.switch": "pixels and labels in training",
    "Augmentation.label_smoothing": "labels in training",
}
REFUSED: list[tuple[dict[tuple[Any, ...], Any], str]] = [
    ({("test", 0, "draw"): "few-shot"}, "test.0.draw"),
    ({("test", 0, "shots"): [2]}, "test.0.shots"),
    ({("train", 0, "optional"): True}, "train.0.optional"),
    ({("train", 0, "draw"): "official", ("train", 0, "shots"): [2]}, "train.0.shots"),
    ({("train",): [{"dataset": "hmdb51", "split": "train-1"}]}, "shots: changes nothing"),
    ({("test", 0, "counted_in"): "train-1"}, "test.0.counted_in"),
    ({("test", 0): {"dataset": "x", "split": "y", **HALF, "halves": "subsets"}}, "counted_in"),
    ({("train",): [], ("shots",): []}, "seeds: changes nothing"),
    ({("aggregate",): {"over": ["parts"]}}, "aggregate.over.0"),
    ({("aggregate",): {"over": ["seeds", "seeds"]}}, "appears twice"),
    ({("aggregate",): {"over": ["splits"]}, ("test",): [{"dataset": "x", "split": "y"}]}, "over.0"),
    ({("aggregate",): {"harmonic_mean": True}}, "harmonic_mean"),
    ({("metrics",): ["top1", "top1"]}, "appears twice"),
    ({("recipes", "fast", "negatives"): 9}, "negatives"),
    ({("recipes", "fast", "sampling"): {"stride": 4}}, "sampling.stride"),
    ({("recipes", "fast", "augmentation"): {"scales": [1.0]}}, "augmentation.scales"),
    ({("recipes", "fast", "augmentation"): {"ratio": [0.5, 2]}}, "augmentation.ratio"),
    ({("recipes", "fast", "augmentation"): {"switch": 0.3, "mixup": 1}}, "augmentation.switch"),
    (
        {("recipes", "fast", "optimizer"): {"name": "sgd", "learning_rate": 1, "epsilon": 1}},
        "optimizer.epsilon",
    ),
    (
        {("recipes", "fast", "schedule"): {"epochs": 1, "name": "constant", "final_fraction": 0.1}},
        "schedule.final_fraction",
    ),
]


def changed(changes: dict[tuple[Any, ...], Any]) -> Protocol:
    """The protocol of `OWN` with some keys set, read from a file."""
    values = yaml.safe_load(yaml.safe_dump(OWN))
    for path, value in changes.items():
        place = values
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
    Path("own.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return load_protocol("own.yaml")


def effects(protocol: Protocol, dataset: Dataset, vclip: Callable) -> dict[str, Any]:
    """What a protocol gives: lists, draws, settings and recipes by the ways that others ask."""

    def attempt(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except VclipError as error:
            return str(error)

    def training() -> Any:
        split, classes = protocol_training(protocol, dataset)
        facts = split.provenance
        return split.sha256, facts.part, facts.rule, facts.shots, facts.seed, classes

    def tests() -> Any:
        found = protocol_tests(protocol, dataset)
        return [(test.name, test.split_sha256, test.classes) for test in found]

    shown = vclip("protocols", "own.yaml")
    chosen = protocol.recipe_for("clip", dataset.config.name, "ViT-B-16")
    return {
        "training": attempt(training),
        "tests": attempt(tests),
        "sweep": (attempt(lambda: training_shots(protocol, dataset)), protocol.seeds),
        "frames": protocol.frames_for(dataset.config.name),
        "reference": (protocol.name, protocol.version),
        "recipe": chosen and chosen[0],
        "shown": shown.out + shown.err,
    }


@pytest.fixture
def hmdb51() -> Dataset:
    return add_dataset("hmdb51", annotations=write_hmdb(Path("ann")))


@pytest.mark.parametrize("path", SEEN_HERE, ids=lambda path: ".".join(map(str, path)))
def test_a_changed_key_changes_what_is_seen(vclip, hmdb51: Dataset, path: tuple[Any, ...]):
    before = effects(changed({}), hmdb51, vclip)
    after = effects(changed({path: SEEN_HERE[path]}), hmdb51, vclip)
    assert [name for name in before if before[name] != after[name]]


def test_halves_and_where_they_are_counted_decide_the_classes():
    counts = {"train": "aaaabbbccd", "test": "abbcccdddd"}
    paths = [f"{part}/{c}/{part}{n}.mp4" for part in counts for n, c in enumerate(counts[part])]
    dataset = add_dataset("mine", videos=write_videos(Path("clips"), paths))

    def base(**keys: Any) -> tuple[str, ...]:
        entry = {"dataset": "*", "split": "test", "part": "base", **keys}
        return protocol_tests(changed({("test",): [entry]}), dataset)[0].classes

    assert base(halves="training-counts", counted_in="train") == ("b", "a")
    assert base(halves="training-counts", counted_in="test") == ("c", "d")
    assert base(halves="either", counted_in="train") == ("b", "a")
    with pytest.raises(UsageError, match="no subset 'base'"):
        base(halves="subsets")


@pytest.mark.parametrize(("changes", "key"), REFUSED, ids=[key for _, key in REFUSED])
def test_a_key_without_effect_is_refused(changes: dict[tuple[Any, ...], Any], key: str):
    with pytest.raises(SpecError, match=key):
        changed(changes)


def test_no_key_is_forgotten():
    """Each field of the schema is in one of the tables above."""
    named = {f"{kind}.{key}" for kind, key in (name.split(".") for name in SEEN_IN_RUNS)}
    for path, value in SEEN_HERE.items():
        keys = [part for part in path if isinstance(part, str)]
        owner = {"train": "Entry", "test": "Entry", "recipes": "Recipe"}.get(keys[0], "Protocol")
        if len(keys) == 1:
            named.add(f"Protocol.{keys[0]}")
        elif len(keys) == 4:
            named.add(f"{keys[2].title()}.{keys[3]}")
        named.add(f"{owner}.{keys[-1]}")
        if keys[-1] == "schedule" or keys[0] in ("train", "test"):
            below = value if isinstance(value, dict) else {}
            named |= {f"{'Schedule' if 'schedule' in keys else 'Entry'}.{key}" for key in below}
    named |= {"Protocol.recipes", "Recipe.optimizer", "Schedule.epochs"}
    models = {Protocol}
    while fresh := {model for found in models for model in _models_in(found)} - models:
        models |= fresh
    fields = {f"{model.__name__}.{key}" for model in models for key in model.model_fields}
    assert fields - named == set()


def _models_in(model: Any) -> set[Any]:
    import typing

    from pydantic import BaseModel

    found: set[Any] = set()
    pending = [field.annotation for field in model.model_fields.values()]
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.add(kind)
        pending.extend(typing.get_args(kind))
    return found
