from __future__ import annotations

from pathlib import Path

import pytest
from make_datasets import hmdb_name, write_hmdb

from vclip_cli.common.errors import ComparisonRefused, UsageError
from vclip_cli.data.dataset import Dataset, add_dataset
from vclip_cli.data.make_split import make_split
from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.split import read_split


@pytest.fixture
def hmdb51() -> Dataset:
    return add_dataset("hmdb51", annotations=write_hmdb(Path("ann")))


def test_the_training_split_comes_first_and_its_tests_are_at_hand(hmdb51: Dataset):
    split = make_split(hmdb51, protocol="few-shot", shots=2, seed=1)
    assert len(split.rows) == 2 * 51
    assert (split.provenance.shots, split.provenance.seed) == (2, 1)
    assert [test.provenance.part for test in split.tests] == ["test-1"]
    split.save("train.csv")
    again = read_split(Path("train.csv"))
    assert again.sha256 == split.sha256
    assert again.rows.equals(split.rows)


def test_a_loaded_protocol_and_the_command_line_give_the_same_files(vclip, hmdb51: Dataset):
    split = make_split(hmdb51, load_protocol("base-to-novel"), seed=2, shots=3)
    saved = split.save_all(Path("library"))
    ran = vclip("split", "hmdb51", "-p", "base-to-novel", "--seed", 2, "--shots", 3, "-o", "line")
    assert ran.code == 0, ran.err
    folder = Path("line/hmdb51/base-to-novel")
    assert sorted(path.name for path in saved) == sorted(p.name for p in folder.glob("*.csv"))
    for path in Path("library").iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_a_protocol_without_training_has_tests_alone(hmdb51: Dataset):
    split = make_split(hmdb51, "zero-shot")
    assert len(split.tests) == 3
    assert split.splits == list(split.tests)
    for use in (lambda: split.rows, lambda: split.save("train.csv"), lambda: split.sha256):
        with pytest.raises(UsageError, match="does not train"):
            use()


def test_a_published_list_is_imported_and_held_against_the_tests(hmdb51: Dataset):
    path = Path("list.txt")
    path.write_text("".join(f"{hmdb_name('pour', n)}.avi 0\n" for n in (0, 7)), encoding="utf-8")
    with pytest.raises(ComparisonRefused, match="1 of 2 training videos"):
        make_split(hmdb51, "few-shot", from_list=path)
    split = make_split(hmdb51, "few-shot", from_list=path, allow_overlap=True)
    assert [overlap.test for overlap in split.overlaps] == ["test-1"]
    assert split.provenance.overlaps_allowed == list(split.overlaps)
    alone = make_split(hmdb51, from_list=path)
    assert (alone.tests, alone.provenance.protocol) == ((), None)
    with pytest.raises(ComparisonRefused):
        make_split(hmdb51, from_list=path, against=["test-1"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "--protocol is missing"),
        ({"protocol": "few-shot", "subset": "base"}, "--from-list is missing"),
        ({"protocol": "zero-shot", "shots": 2}, "does not train on"),
        ({"protocol": "zero-shot", "against": ["test-1"]}, "--against"),
        ({"from_list": Path("list.txt"), "shots": 2}, "leave out --shots"),
    ],
)
def test_arguments_that_do_not_fit_together(hmdb51: Dataset, arguments, says):
    with pytest.raises(UsageError, match=says):
        make_split(hmdb51, **arguments)
