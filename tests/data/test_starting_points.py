"""`vclip protocols new` and `vclip labels new`: files that load as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_datasets import write_videos

from vclip_cli.common.errors import UsageError
from vclip_cli.common.resources import new_yaml
from vclip_cli.data.dataset import add_dataset
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, protocol_training


def test_a_new_protocol_loads_by_name_and_gives_lists():
    assert new_yaml("protocols", "mine").samefile(".vclip/protocols/mine.yaml")
    protocol = load_protocol("mine")
    paths = [f"{part}/{name}/{n}.mp4" for part in ("train", "test") for name in "ab" for n in "12"]
    dataset = add_dataset("own", videos=write_videos(Path("clips"), paths))
    split, classes = protocol_training(protocol, dataset, shots=2)
    assert (len(split.rows), classes) == (4, ("a", "b"))
    (test,) = protocol_tests(protocol, dataset)
    assert (test.name, len(test.rows)) == ("own/test", 4)
    assert split.provenance.protocol == protocol.reference


def test_its_commented_lines_are_valid_too():
    text = new_yaml("protocols", "mine").read_text(encoding="utf-8")
    begin = text.index("# recipes:")
    lines = [line.removeprefix("# ") for line in text[begin:].splitlines()]
    Path("whole.yaml").write_text(text[:begin] + "\n".join(lines), encoding="utf-8")
    assert load_protocol("whole.yaml").recipe("mine").schedule.epochs == 50


@pytest.mark.parametrize("name", ["mine", "two words", "1", "yes", "it's"])
def test_a_new_label_set_loads_under_any_name(name: str):
    new_yaml("label_sets", name)
    label_set = load_label_set(name)
    assert label_set.subset("novel") == ["PourWater"]
    assert label_set.text("PourWater") == "pouring water"


def test_nothing_is_overwritten_and_bad_names_are_refused():
    new_yaml("protocols", "mine")
    before = Path(".vclip/protocols/mine.yaml").read_bytes()
    for name in ("mine", "../mine", ".mine", "a/b", ""):
        with pytest.raises(UsageError):
            new_yaml("protocols", name)
    with pytest.raises(UsageError, match=r"\.yaml"):
        new_yaml("protocols", "other", Path("other.txt"))
    assert Path(".vclip/protocols/mine.yaml").read_bytes() == before


def test_the_commands(vclip):
    made = vclip("protocols", "new", "mine", "--json")
    assert made.code == 0, made.err
    assert load_protocol(json.loads(made.out)["file"]).name == "mine"
    again = vclip("protocols", "new", "mine")
    assert (again.code, again.out) == (2, "")
    assert vclip("protocols", "new", "mine", "--out", "own.yaml").code == 0
    assert load_protocol("own.yaml").name == "mine"
    assert vclip("labels", "new", "kitchen", "--out", "sets/kitchen.yaml").code == 0
    assert vclip("labels", "show", "sets/kitchen.yaml").code == 0
    for wrong in (("new",), ("few-shot", "mine"), ("few-shot", "--out", "x.yaml")):
        ran = vclip("protocols", *wrong)
        assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize(
    ("kind", "name"), [("protocols", "zero-shot"), ("label_sets", "toy"), ("protocols", "new")]
)
def test_a_name_that_is_taken_is_refused(kind: str, name: str):
    """A file of the project comes before the shipped one of its name, which it would hide."""
    with pytest.raises(UsageError, match="already"):
        new_yaml(kind, name)
