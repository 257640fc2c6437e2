from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError
from vclip_cli.data.draws import draw_base, draw_few_shot, halves_by_counts
from vclip_cli.data.label_set import load_label_set

NAMES = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=8)
MANIFESTS = st.dictionaries(
    NAMES, st.lists(NAMES, min_size=0, max_size=12, unique=True), min_size=1, max_size=8
)
SEEDS = st.integers(min_value=0, max_value=2**40)

# Training videos of each class in UCF101's trainlist01, in the order of classInd.txt.
UCF101_TRAINING = [
    101, 82, 104, 97, 77, 112, 107, 99, 94, 112, 96, 110, 93, 76, 82, 112, 114, 97, 73, 95,
    79, 99, 103, 118, 77, 105, 116, 77, 86, 89, 89, 100, 100, 97, 107, 105, 100, 77, 106,
    86, 89, 115, 91, 112, 86, 81, 86, 106, 105, 89, 92, 90, 92, 91, 76, 97, 77, 80, 120,
    110, 115, 107, 117, 77, 113, 80, 72, 109, 88, 72, 121, 72, 83, 103, 85, 101, 90, 118,
    98, 88, 95, 72, 79, 108, 96, 80, 82, 93, 89, 101, 72, 117, 92, 87, 93, 76, 81, 87, 95,
    107, 92,
]  # fmt: skip
# Places of ViFi-CLIP's 16 videos in the 70 training videos of every HMDB51 class, by seed.
PUBLISHED_PLACES = {
    1: [17, 8, 32, 15, 63, 57, 60, 41, 24, 50, 13, 6, 31, 1, 53, 61],
    2: [7, 11, 10, 46, 21, 39, 32, 38, 13, 62, 2, 37, 43, 67, 27, 40],
    3: [30, 16, 47, 60, 8, 1, 66, 68, 35, 14, 12, 45, 69, 34, 53, 61],
}


@given(MANIFESTS, st.integers(1, 8), SEEDS, st.booleans())
def test_exactly_k_a_class_or_the_small_classes_are_named(videos_of, shots, seed, nested):
    small = [name for name, videos in videos_of.items() if len(videos) < shots]
    if small:
        with pytest.raises(DataError) as caught:
            draw_few_shot(videos_of, shots, seed, nested=nested)
        assert all(repr(name) in str(caught.value) for name in small[:5])
        assert f"{len(small)} of {len(videos_of)} classes" in caught.value.what
        return
    drawn = draw_few_shot(videos_of, shots, seed, nested=nested)
    assert list(drawn) == list(videos_of)
    for name, videos in drawn.items():
        assert len(videos) == len(set(videos)) == shots
        assert set(videos) <= set(videos_of[name])


@given(MANIFESTS, MANIFESTS, st.integers(1, 4), SEEDS, st.booleans(), st.randoms())
def test_a_class_is_drawn_by_itself(videos_of, others, shots, seed, nested, rng):
    big = {name: videos for name, videos in videos_of.items() if len(videos) >= shots}
    for name, videos in big.items():
        alone = draw_few_shot({name: videos}, shots, seed, nested=nested)[name]
        shuffled = rng.sample(videos, len(videos))
        more = {k: v for k, v in others.items() if len(v) >= shots and k != name}
        mixed = [*more.items(), (name, shuffled + shuffled[:1])]
        rng.shuffle(mixed)
        assert draw_few_shot(dict(mixed), shots, seed, nested=nested)[name] == alone
        rest = [video for video in videos if video not in alone]
        if rest:
            fewer = [video for video in videos if video != rest[0]]
            assert draw_few_shot({name: fewer}, shots, seed, nested=nested)[name] == alone


@given(NAMES, st.lists(NAMES, min_size=8, max_size=20, unique=True), SEEDS)
def test_nested_draws_begin_alike(name, videos, seed):
    draws = [draw_few_shot({name: videos}, k, seed, nested=True)[name] for k in (1, 2, 4, 8)]
    for small, large in itertools.pairwise(draws):
        assert large[: len(small)] == small


def test_seeds_and_k_give_other_draws_and_zero_is_a_seed():
    videos = {"pour": [f"v{number}" for number in range(100)]}
    draws = [tuple(draw_few_shot(videos, 8, seed)["pour"]) for seed in range(4)]
    assert len(set(draws)) == 4
    assert draw_few_shot(videos, 16, 0)["pour"][:8] != list(draws[0])


def test_the_draw_never_changes_between_versions():
    videos = {"pour": [f"v{number}" for number in range(10)]}
    assert draw_few_shot(videos, 3, 0) == {"pour": ["v8", "v9", "v7"]}
    assert draw_few_shot(videos, 3, 0, nested=True) == {"pour": ["v4", "v3", "v6"]}


@given(st.dictionaries(NAMES, st.integers(0, 50), min_size=2, max_size=20))
def test_halves_are_all_classes_and_disjoint(counts):
    order = list(counts)
    base, novel = halves_by_counts(counts, order)
    assert sorted(base + novel) == sorted(order)
    assert not set(base) & set(novel)
    assert len(novel) == len(order) // 2
    assert max(counts[name] for name in novel) <= min(counts[name] for name in base)


def test_one_class_has_no_halves():
    with pytest.raises(DataError, match="two"):
        halves_by_counts({"a": 1}, ["a"])


def test_the_rule_gives_the_published_halves_of_ucf101_in_order():
    label_set = load_label_set("ucf101")
    counts = dict(zip(label_set.names, UCF101_TRAINING, strict=True))
    base, novel = halves_by_counts(counts, label_set.names)
    assert base == label_set.subset("base")
    assert novel == label_set.subset("novel")
    assert "Typing" in base
    assert {"BlowDryHair", "Surfing"} <= set(novel)


def test_the_rule_gives_the_published_halves_of_hmdb51_in_order():
    label_set = load_label_set("hmdb51")
    base, novel = halves_by_counts(dict.fromkeys(label_set.names, 70), label_set.names)
    assert base == label_set.subset("base")
    assert novel == label_set.subset("novel")


@pytest.mark.parametrize("seed", PUBLISHED_PLACES)
def test_the_published_draw(seed: int):
    videos = {name: [f"{name}{place}" for place in range(70)] for name in ("pour", "wave")}
    drawn = draw_base(videos, 16, seed)
    for name in videos:
        assert drawn[name] == [f"{name}{place}" for place in PUBLISHED_PLACES[seed]]


@given(MANIFESTS, MANIFESTS, st.integers(1, 4), SEEDS)
def test_the_published_draw_is_of_each_class_alone(videos_of, others, shots, seed):
    big = {name: videos for name, videos in videos_of.items() if len(videos) >= shots}
    more = {name: videos for name, videos in others.items() if len(videos) >= shots}
    drawn = draw_base({**more, **big}, shots, seed)
    for name, videos in big.items():
        assert drawn[name] == random.Random(seed).sample(videos, shots)
