from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from make_datasets import hmdb_name, write_hmdb, write_kinetics, write_videos

from vclip_cli.common.errors import ComparisonRefused, DataError, SpecError, UsageError
from vclip_cli.data.dataset import Dataset, add_dataset
from vclip_cli.data.imported import import_split
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.protocol import Protocol, list_protocols, load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, protocol_training, trains_on
from vclip_cli.data.split import write_split

OWN = """
name: own
version: 1
title: Own
source: a test
test:
  - {dataset: "*", split: [test, all]}
frames: 8
metrics: [top1]
recipes:
  fast:
    method: clip
    source: a test
    frames: 8
    batch_size: 4
    optimizer: {learning_rate: 0.1}
    schedule: {epochs: 2}
"""


def own(text: str = OWN) -> Protocol:
    Path("own.yaml").write_text(text, encoding="utf-8")
    return load_protocol("own.yaml")


@pytest.fixture
def hmdb51() -> Dataset:
    return add_dataset("hmdb51", annotations=write_hmdb(Path("ann")))


def mine(*paths: str) -> Dataset:
    return add_dataset("mine", videos=write_videos(Path("clips"), list(paths)))


@pytest.mark.parametrize("name", list_protocols())
def test_shipped_protocols_load_and_name_real_subsets(name: str):
    protocol = load_protocol(name)
    assert protocol.name == name
    for entry in [*protocol.train, *protocol.test]:
        if entry.dataset != "*" and entry.classes is not None:
            assert load_label_set(entry.dataset).subset(entry.classes)
    for recipe in protocol.recipes.values():
        named = {entry.dataset for entry in protocol.train} | {"toy-shapes", "toy-multi"}
        assert set(recipe.datasets) <= named
        for dataset in recipe.datasets:
            label_set = load_label_set(dataset)
            assert (recipe.text.variant or "natural") in label_set.variants


@pytest.mark.parametrize(
    ("protocol", "recipe", "rate", "length", "batch", "frames"),
    [
        ("zero-shot", "x-clip", 8e-6, 30, 256, 32),
        ("zero-shot", "vifi-clip", 8e-6, 10, 256, 32),
        ("few-shot", "x-clip", 2e-6, 50, 64, 32),
        ("few-shot", "vl-prompt", 8e-3, 50, 64, 32),
        ("base-to-novel", "vifi-clip", 2e-6, 11, 64, 32),
        ("base-to-novel", "vl-prompt", 4e-2, 11, 64, 32),
        ("supervised", "vifi-clip", 2.2e-5, 30, 512, 16),
        ("supervised", "vita-clip", 4e-4, 30000, 256, 8),
    ],
)
def test_published_settings(protocol, recipe, rate, length, batch, frames):
    found = load_protocol(protocol).recipe(recipe)
    schedule = found.schedule
    assert (found.optimizer.learning_rate, schedule.epochs or schedule.steps) == (rate, length)
    assert (found.batch_size, found.frames) == (batch, frames)


@pytest.mark.parametrize(
    ("old", "new", "line", "match"),
    [
        ("frames: 8\nmetrics", "frame: 8\nmetrics", 8, "unknown key 'frame'.*'frames'"),
        ("split: [test, all]}", "split: [test, all], spilt: x}", 7, "unknown key 'test.0.spilt'"),
        ("metrics: [top1]", "metrics: [top2]", 9, "metrics.0"),
        ("{epochs: 2}", "{epochs: 2, steps: 3}", 17, "either epochs or steps"),
        ("frames: 8\nmetrics", "metrics", 2, "'frames' is missing"),
        ("    batch_size: 4", "    batch_size: none", 15, "batch_size"),
        ("frames: 8\nmetrics", "frames: 8\ntext: {templates: [a photo]}\nmetrics", 9, "no place"),
        (
            '"*", split: [test, all]',
            '"*", split: all, part: x, halves: subsets',
            7,
            "base and novel",
        ),
    ],
)
def test_a_broken_protocol_is_one_error_with_the_line(old, new, line, match):
    with pytest.raises(SpecError, match=match) as caught:
        own(OWN.replace(old, new))
    assert caught.value.where == f"own.yaml:{line}"


def test_the_hash_sees_content_only():
    assert own(OWN + "# comment\n").sha256 == own().sha256
    assert own(OWN.replace("frames: 8\nmetrics", "frames: 9\nmetrics")).sha256 != own().sha256


def test_unknown_names_offer_near_misses():
    with pytest.raises(UsageError, match="did you mean 'zero-shot'"):
        load_protocol("zeroshot")
    with pytest.raises(UsageError, match="did you mean 'fast'"):
        own().recipe("fsat")


def test_recipes_for_a_dataset_come_before_general_ones():
    text = OWN + OWN.split("recipes:\n")[1].replace("fast:", "slow:").replace(
        "frames: 8", "frames: 16\n    datasets: [mine]\n    backbone: RN50"
    )
    protocol = own(text)
    assert protocol.recipe_for("clip", "mine")[0] == "slow"
    assert protocol.recipe_for("clip", "mine", "ViT-B-16")[0] == "fast"
    assert protocol.recipe_for("clip", "other")[0] == "fast"
    assert protocol.recipe_for("x-clip", "mine") is None


def test_zero_shot_tests_all_splits_and_more_on_request(hmdb51: Dataset):
    protocol = load_protocol("zero-shot")
    tests = protocol_tests(protocol, hmdb51)
    assert [test.name for test in tests] == ["hmdb51/test-1", "hmdb51/test-2", "hmdb51/test-3"]
    assert all(test.classes == tuple(hmdb51.label_set.names) for test in tests)
    assert list(tests[0].rows.columns) == ["video", "path", "class"]
    assert len({test.split_sha256 for test in tests}) == 3
    asked = protocol_tests(protocol, hmdb51, splits=["full", "hmdb51/test-2"])
    assert [test.name for test in asked] == ["hmdb51/test-2", "hmdb51/full"]
    assert len(asked[1].rows) == hmdb51.manifest.videos
    with pytest.raises(UsageError, match="did you mean"):
        protocol_tests(protocol, hmdb51, splits=["test-4"])
    assert not trains_on(protocol, hmdb51)


def test_base_to_novel_plans_both_halves(hmdb51: Dataset):
    protocol = load_protocol("base-to-novel")
    base, novel = protocol_tests(protocol, hmdb51)
    assert (base.name, novel.name) == ("hmdb51/test-1/base", "hmdb51/test-1/novel")
    assert sorted(base.classes + novel.classes) == sorted(hmdb51.label_set.names)
    assert set(base.rows["class"]) == set(base.classes)
    assert set(novel.rows["class"]) == set(novel.classes)
    split, classes = protocol_training(protocol, hmdb51, shots=4)
    assert classes == base.classes
    assert split.provenance.seed == 1
    assert split.provenance.rule.halves == "training-counts"
    only = protocol_tests(protocol, hmdb51, subset="novel")
    assert [test.name for test in only] == ["hmdb51/test-1/novel"]


def test_a_subset_of_the_label_set_restricts_every_test(hmdb51: Dataset):
    tests = protocol_tests(load_protocol("zero-shot"), hmdb51, subset="novel")
    assert tests[0].name == "hmdb51/test-1/novel"
    assert all(test.classes == tuple(hmdb51.label_set.subset("novel")) for test in tests)
    with pytest.raises(UsageError, match="no subset"):
        protocol_tests(load_protocol("zero-shot"), hmdb51, subset="nvl")


def test_few_shot_needs_k_and_states_its_seed(hmdb51: Dataset):
    protocol = load_protocol("few-shot")
    with pytest.raises(UsageError, match=r"--shots 2\|4\|8\|16"):
        protocol_training(protocol, hmdb51)
    split, classes = protocol_training(protocol, hmdb51, shots=2, seed=0)
    assert split.provenance.seed == 0
    assert len(split.rows) == 2 * len(classes) == 102
    with pytest.raises(UsageError, match="whole of 'train-1'"):
        protocol_training(load_protocol("supervised"), hmdb51, shots=2)
    with pytest.raises(UsageError, match="published draw"):
        protocol_training(load_protocol("base-to-novel"), hmdb51, shots=2, nested=True)


def test_kinetics_600_has_three_draws_of_classes():
    names = load_label_set("kinetics600").names
    rows = [(name, f"vid{number:08d}") for number, name in enumerate(names)]
    dataset = add_dataset("kinetics600", annotations=write_kinetics(Path("k"), {"val": rows}))
    tests = protocol_tests(load_protocol("zero-shot"), dataset)
    assert [(test.name, len(test.classes), len(test.rows)) for test in tests] == [
        (f"kinetics600/validation/zs{number}", 160, 160) for number in (1, 2, 3)
    ]


def test_kinetics_400_has_published_halves_whatever_the_copy_counts():
    label_set = load_label_set("kinetics400")
    rows = {
        split: [
            (name, f"{split}{n}-{i:06d}") for i, name in enumerate(label_set.names) for n in (1, 2)
        ]
        for split in ("train", "val")
    }
    dataset = add_dataset("kinetics400", annotations=write_kinetics(Path("k"), rows))
    protocol = load_protocol("base-to-novel")
    base, novel = protocol_tests(protocol, dataset)
    assert list(base.classes) == label_set.subset("base")
    assert list(novel.classes) == label_set.subset("novel")
    split, _ = protocol_training(protocol, dataset, shots=2, seed=1)
    assert split.provenance.rule.halves == "subsets"


def test_own_videos_work_with_every_single_label_protocol():
    paths = [
        f"{part}/{name}/{part}{n}.mp4"
        for part in ("train", "test")
        for name in "abc"
        for n in range(4)
    ]
    dataset = mine(*paths)
    for name in ("zero-shot", "few-shot", "base-to-novel", "supervised"):
        protocol = load_protocol(name)
        tests = protocol_tests(protocol, dataset)
        assert all(test.split == "test" for test in tests)
        if name == "zero-shot":
            continue
        shots = None if name == "supervised" else 2
        split, _ = protocol_training(protocol, dataset, shots=shots)
        assert set(split.rows["video"]).isdisjoint(
            pd.concat([test.rows for test in tests])["video"]
        )
    assert split.rows["video"].tolist()[0] == "train/a/train0"


def test_a_heap_of_own_videos_can_be_tested_but_not_trained_on():
    dataset = mine("a/1.mp4", "b/2.mp4")
    assert [test.name for test in protocol_tests(load_protocol("zero-shot"), dataset)] == [
        "mine/all"
    ]
    with pytest.raises(DataError, match="train/"):
        protocol_training(load_protocol("few-shot"), dataset, shots=1)


def test_hmdb51_as_plain_class_folders_is_treated_as_own_videos():
    dataset = add_dataset("hmdb51", videos=write_videos(Path("v"), ["pour/a.avi", "wave/b.avi"]))
    assert [test.name for test in protocol_tests(load_protocol("zero-shot"), dataset)] == [
        "hmdb51/all"
    ]


def test_kinds_are_not_mixed():
    Path("list.txt").write_text("a.mp4 0 1\nb.mp4 1\n", encoding="utf-8")
    dataset = add_dataset("mine", annotations=Path("list.txt"))
    with pytest.raises(UsageError, match="single-label"):
        protocol_tests(load_protocol("zero-shot"), dataset)
    (test,) = protocol_tests(load_protocol("multi-label"), dataset)
    assert test.multi_label
    assert test.rows["class"].tolist() == ["0", "1", "1"]


def test_a_split_file_is_tested_and_trained_on_as_it_stands(hmdb51: Dataset):
    names = load_label_set("hmdb51").subset("novel")
    Path("list.txt").write_text(
        "".join(f"{hmdb_name(name, n)}.avi 0\n" for name in names[:3] for n in (0, 1)),
        encoding="utf-8",
    )
    split = import_split(hmdb51, Path("list.txt"), part="test", subset="novel")
    write_split(split, Path("mine.csv"))
    protocol = load_protocol("few-shot")
    (test,) = protocol_tests(protocol, hmdb51, splits=["mine.csv"])
    assert (test.name, test.part) == ("hmdb51/mine/novel", "novel")
    assert test.classes == tuple(names)
    assert test.rows["video"].tolist() == split.rows["video"].tolist()
    assert test.split_sha256 == split.sha256
    training, classes = protocol_training(protocol, hmdb51, listed=Path("mine.csv"))
    assert training.sha256 == split.sha256
    assert classes == tuple(names)
    write_split(import_split(hmdb51, Path("list.txt")), Path("all.csv"))
    _, classes = protocol_training(protocol, hmdb51, listed=Path("all.csv"))
    assert list(classes) == [name for name in hmdb51.label_set.names if name in names[:3]]
    with pytest.raises(DataError, match="outside the subset 'base'"):
        import_split(hmdb51, Path("list.txt"), subset="base")
    with pytest.raises(UsageError, match="leave out --shots"):
        protocol_training(protocol, hmdb51, listed=Path("all.csv"), shots=2)
    other = mine("a/1.mp4", "b/2.mp4")
    with pytest.raises(ComparisonRefused, match="another dataset"):
        protocol_tests(load_protocol("zero-shot"), other, splits=["all.csv"])
