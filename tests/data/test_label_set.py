from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError, SpecError, UsageError
from vclip_cli.data.label_set import (
    ClassEntry,
    LabelSet,
    diff_label_sets,
    label_set_from_names,
    load_label_set,
    write_label_set,
)

GOOD = """
name: sports
title: Sports
version: 2
classes:
  - name: HandstandPushups
    texts: {natural: handstand pushups, loud: HANDSTAND PUSHUPS}
    aliases: [hsp]
  - kick_ball
  - {name: kick}
subsets:
  base: [kick, kick_ball]
"""


def load(text: str, name: str = "sports") -> LabelSet:
    path = Path(f"{name}.yaml")
    path.write_text(text, encoding="utf-8")
    return load_label_set(str(path))


def test_texts_fall_back_to_natural_and_to_the_name():
    label_set = load(GOOD)
    assert label_set.text("HandstandPushups", "loud") == "HANDSTAND PUSHUPS"
    assert label_set.text("kick_ball", "loud") == "kick ball"
    assert label_set.variants == ["natural", "loud"]
    with pytest.raises(UsageError, match="did you mean 'loud'"):
        label_set.text("kick", "lout")
    with pytest.raises(DataError, match="did you mean 'kick'"):
        label_set.text("kik")


@pytest.mark.parametrize(
    "spelling",
    ["HandstandPushups", "hsp", "handstand_pushups", "Hand Stand Pushups", "handstand-pushups"],
)
def test_respellings_resolve(spelling: str):
    assert load(GOOD).resolve(spelling) == "HandstandPushups"


def test_an_unknown_class_offers_the_near_miss():
    with pytest.raises(DataError, match="did you mean 'HandstandPushups'"):
        load(GOOD).resolve("handstand pushup")
    with pytest.raises(DataError):
        load(GOOD).resolve("")


def test_texts_that_swap_two_names_do_not_mislead_resolution():
    swapped = LabelSet(
        name="x",
        title="X",
        version=1,
        classes=[
            ClassEntry(name="kick", texts={"published": "kick ball"}),
            ClassEntry(name="kick_ball", texts={"published": "kick"}),
        ],
    )
    assert swapped.resolve("kick ball") == "kick_ball"
    assert swapped.text("kick", "published") == "kick ball"


@pytest.mark.parametrize(
    ("old", "new", "line", "match"),
    [
        ("{name: kick}", "{name: kick_ball}", 10, "appears twice"),
        ("aliases: [hsp]", "aliases: [kick]", 8, "also means 'kick'"),
        ("[kick, kick_ball]", "[kick, kick_bal]", 12, "did you mean 'kick_ball'"),
        ("aliases: [hsp]", "alias: [hsp]", 8, "unknown key 'classes.0.alias'"),
        ("version: 2", "version: zwei", 4, "version"),
        ("{name: kick}", '{name: " kick"}', 10, "blank"),
        ("loud: HANDSTAND PUSHUPS", 'loud: ""', 7, "empty"),
    ],
)
def test_a_broken_file_is_one_error_with_the_line(old: str, new: str, line: int, match: str):
    with pytest.raises(SpecError, match=match) as caught:
        load(GOOD.replace(old, new))
    assert caught.value.where == f"sports.yaml:{line}"


def test_the_hash_ignores_layout_and_sees_content():
    first = load(GOOD)
    assert (
        load(GOOD.replace("\n  - kick_ball", "\n  # a comment\n  - {name: kick_ball}")).sha256
        == first.sha256
    )
    assert load(GOOD.replace("loud: HAND", "loud: hAND")).sha256 != first.sha256


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1).filter(
            lambda name: name == name.strip()
        ),
        min_size=1,
        unique=True,
    )
)
def test_any_names_survive_writing_and_reading(names: list[str]):
    label_set = label_set_from_names("mine", "Mine", names)
    path = Path("mine.yaml")
    write_label_set(label_set, path)
    assert load_label_set(str(path)) == label_set
    assert label_set.names == names
    assert all(label_set.resolve(name) == name for name in names)


def test_diff_names_what_differs():
    first = load(GOOD)
    changed = GOOD.replace("- kick_ball", "- Kick Ball").replace("[kick, kick_ball]", "[kick]")
    second = load(changed.replace("handstand pushups", "handstands").replace("{name: kick}", "jump")
                  .replace("base: [kick]", "base: [jump]"))  # fmt: skip
    found = diff_label_sets(first, second)
    assert found.only_a == ("kick",)
    assert found.only_b == ("jump",)
    assert found.respelled == (("kick_ball", "Kick Ball"),)
    assert ("HandstandPushups", "handstand pushups", "handstands") in found.texts
    assert not found.reordered


def test_a_file_under_another_name_is_refused_by_name(own_home: Path):
    folder = own_home / ".vclip" / "label_sets"
    folder.mkdir(parents=True)
    (folder / "other.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(SpecError, match="differs from the file's name"):
        load_label_set("other")
