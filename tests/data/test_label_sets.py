"""The shipped label sets: names, order, texts, aliases and subsets of the official datasets."""

from __future__ import annotations

from collections import Counter

import pytest

from vclip_cli.common.errors import DataError
from vclip_cli.common.resources import shipped_folder
from vclip_cli.common.yaml_files import read_yaml
from vclip_cli.data.label_set import LabelSet, fold, load_label_set

METHODS = ("x-clip", "vifi-clip", "vita-clip", "open-vclip")
COUNTS = {
    "kinetics400": 400,
    "kinetics600": 600,
    "hmdb51": 51,
    "ucf101": 101,
    "ssv2": 174,
    "charades": 157,
}
SPOTS = {
    "kinetics400": {
        0: "abseiling",
        196: "massaging person's head",
        222: "playing cards",
        399: "zumba",
    },
    "kinetics600": {0: "abseiling", 1: "acting in play", 598: "yoga", 599: "zumba"},
    "hmdb51": {
        0: "brush_hair",
        5: "climb",
        6: "climb_stairs",
        20: "kick",
        21: "kick_ball",
        44: "sword",
        45: "sword_exercise",
        50: "wave",
    },
    "ucf101": {
        0: "ApplyEyeMakeup",
        34: "Hammering",
        35: "HammerThrow",
        36: "HandstandPushups",
        100: "YoYo",
    },
    "ssv2": {
        0: "Approaching something with your camera",
        93: "Pushing something from left to right",
        94: "Pushing something from right to left",
        173: "Wiping something off of something",
    },
    "charades": {
        0: "Holding some clothes",
        2: "Taking some clothes from somewhere",
        92: "Watching/Looking outside of a window",
        156: "Someone is eating something",
    },
}
HALVES = {"kinetics400": (200, 200), "hmdb51": (26, 25), "ucf101": (51, 50), "ssv2": (87, 87)}


def shipped(name: str) -> LabelSet:
    return load_label_set(shipped_folder("label_sets") / f"{name}.yaml")


@pytest.mark.parametrize("name", COUNTS)
def test_names_order_and_count(name: str) -> None:
    label_set = shipped(name)
    assert label_set.name == name
    assert len(label_set.names) == COUNTS[name]
    assert {index: label_set.names[index] for index in SPOTS[name]} == SPOTS[name]
    assert label_set.source


@pytest.mark.parametrize("name", COUNTS)
def test_every_name_stays_distinct_under_folding(name: str) -> None:
    names = shipped(name).names
    doubles = [fold_ for fold_, count in Counter(map(fold, names)).items() if count > 1]
    assert doubles == []


@pytest.mark.parametrize("name", COUNTS)
def test_every_spelling_resolves_to_its_class(name: str) -> None:
    label_set = shipped(name)
    for entry in label_set.classes:
        spellings = (entry.name, entry.name.replace(" ", "_"), entry.name.upper(), *entry.aliases)
        assert {label_set.resolve(spelling) for spelling in spellings} == {entry.name}


@pytest.mark.parametrize("name", COUNTS)
def test_all_scalars_are_strings(name: str) -> None:
    """Unquoted words such as `yes` and `no` would turn into something else."""
    value, _ = read_yaml(shipped_folder("label_sets") / f"{name}.yaml")
    for entry in value["classes"]:
        fields = {"name": entry} if isinstance(entry, str) else entry
        scalars = [fields["name"], *fields.get("texts", {}).values(), *fields.get("aliases", [])]
        assert all(isinstance(scalar, str) for scalar in scalars), entry


@pytest.mark.parametrize("name", ["kinetics400", "kinetics600"])
def test_kinetics_names_are_sorted(name: str) -> None:
    names = shipped(name).names
    assert names == sorted(names)


@pytest.mark.parametrize("name", ["hmdb51", "ucf101", "ssv2"])
def test_class_folders_are_sorted(name: str) -> None:
    names = shipped(name).names
    assert names == sorted(names, key=str.lower)


@pytest.mark.parametrize("name", HALVES)
def test_base_and_novel_share_out_the_classes(name: str) -> None:
    label_set = shipped(name)
    base, novel = label_set.subset("base"), label_set.subset("novel")
    assert (len(base), len(novel)) == HALVES[name]
    assert sorted(base + novel) == sorted(label_set.names)


@pytest.mark.parametrize(
    ("name", "base", "novel"),
    [
        ("kinetics400", ("getting a tattoo", "playing harp"), ("tying bow tie", "eating chips")),
        ("hmdb51", ("pour", "wave"), ("brush_hair", "pick")),
        ("ucf101", ("Typing", "Punch"), ("PlayingViolin", "Surfing")),
        (
            "ssv2",
            ("Pouring something into something", "Putting something on a surface"),
            (
                "Poking a hole into some substance",
                "Turning the camera downwards while filming something",
            ),
        ),
    ],
)
def test_halves_keep_their_published_order(
    name: str, base: tuple[str, str], novel: tuple[str, str]
) -> None:
    """The first and the last class of each half."""
    label_set = shipped(name)
    assert (label_set.subset("base")[0], label_set.subset("base")[-1]) == base
    assert (label_set.subset("novel")[0], label_set.subset("novel")[-1]) == novel


def test_hmdb51_halves_are_the_official_order_cut_in_two() -> None:
    """All 51 classes have 70 training videos, so the class index alone decides."""
    label_set = shipped("hmdb51")
    assert label_set.subset("novel") == label_set.names[:25]
    assert label_set.subset("base") == label_set.names[25:]


def test_ucf101_ties_at_the_cut() -> None:
    """BlowDryHair, Surfing and Typing have 93 training videos each; the index decides."""
    label_set = shipped("ucf101")
    assert label_set.subset("novel")[-2:] == ["BlowDryHair", "Surfing"]
    assert label_set.subset("base")[0] == "Typing"


def test_kinetics600_zero_shot_draws() -> None:
    label_set = shipped("kinetics600")
    one, two, three = (set(label_set.subset(f"zs{number}")) for number in (1, 2, 3))
    assert [len(part) for part in (one, two, three)] == [160, 160, 160]
    assert (len(one & two), len(one & three), len(two & three)) == (110, 116, 117)
    assert len(one & two & three) == 80
    assert len(one | two | three) == 217
    seen_in_training = set(shipped("kinetics400").names)
    assert not (one | two | three) & seen_in_training
    for number in (1, 2, 3):
        assert label_set.subset(f"zs{number}") == sorted(label_set.subset(f"zs{number}"))


def test_kinetics_rewordings_are_found_from_both_sides() -> None:
    older, newer = shipped("kinetics400"), shipped("kinetics600")
    assert len(set(older.names) & set(newer.names)) == 368
    pairs = []
    for name in set(newer.names) - set(older.names):
        try:
            pairs.append((older.resolve(name), name))
        except DataError:
            continue
    assert len(pairs) == 12
    for old, new in pairs:
        assert newer.resolve(old) == new
    assert ("dying hair", "dyeing hair") in pairs
    assert ("tying tie", "tying necktie") in pairs
    zero_shot_classes = set().union(*(newer.subset(f"zs{number}") for number in (1, 2, 3)))
    assert not zero_shot_classes & {new for _, new in pairs}


@pytest.mark.parametrize("name", COUNTS)
def test_every_method_variant_can_be_asked_for(name: str) -> None:
    label_set = shipped(name)
    assert set(METHODS) <= set(label_set.variants)
    for class_name in label_set.names:
        for variant in METHODS:
            text = label_set.text(class_name, variant)
            assert fold(text) == fold(class_name)


@pytest.mark.parametrize("name", sorted(COUNTS.keys() - {"ucf101"}))
def test_methods_take_names_with_blanks(name: str) -> None:
    label_set = shipped(name)
    for class_name in label_set.names:
        plain = class_name.replace("_", " ")
        texts = {label_set.text(class_name, variant) for variant in ("natural", *METHODS)}
        assert texts == {plain}


def test_ucf101_texts() -> None:
    label_set = shipped("ucf101")
    for class_name in label_set.names:
        for variant in ("x-clip", "vifi-clip", "vita-clip"):
            assert label_set.text(class_name, variant) == class_name
        assert label_set.text(class_name) == label_set.text(class_name).lower()
    assert label_set.text("ApplyEyeMakeup") == "apply eye makeup"
    assert label_set.text("TaiChi") == "tai chi"
    assert label_set.text("Haircut") == "haircut"
    assert label_set.text("YoYo") == "yo yo"
    assert label_set.text("ApplyEyeMakeup", "open-vclip") == "Apply Eye Makeup"
    assert label_set.text("YoYo", "open-vclip") == "Yoyo"
    split = [name for name in label_set.names if label_set.text(name, "open-vclip") != name]
    assert len(split) == 77


@pytest.mark.parametrize("variant", ["vifi-as-published", "x-clip-as-published"])
def test_hmdb51_published_exchange(variant: str) -> None:
    label_set = shipped("hmdb51")
    differ = {
        name: label_set.text(name, variant)
        for name in label_set.names
        if label_set.text(name, variant) != label_set.text(name)
    }
    assert differ == {
        "kick": "kick ball",
        "kick_ball": "kick",
        "sword": "sword exercise",
        "sword_exercise": "sword",
    }
    assert label_set.resolve("kick ball") == "kick_ball"
    assert label_set.resolve("sword exercise") == "sword_exercise"


def test_charades_codes_are_aliases() -> None:
    label_set = shipped("charades")
    for index, name in enumerate(label_set.names):
        assert label_set.resolve(f"c{index:03d}") == name
    assert label_set.resolve("Taking clothes from somewhere") == label_set.names[2]


def test_folder_spellings() -> None:
    assert shipped("ucf101").resolve("HandStandPushups") == "HandstandPushups"
    assert shipped("kinetics400").resolve("massaging_person's_head") == "massaging person's head"
    assert shipped("hmdb51").resolve("ride bike") == "ride_bike"


def test_ssv2_keeps_commas() -> None:
    assert sum("," in name for name in shipped("ssv2").names) == 12
