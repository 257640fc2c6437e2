"""The list of clips and the label sets of the embedded benchmark."""

from collections import Counter

import pytest

from vclip_cli.data.label_set import load_label_set
from vclip_cli.toy import toy_fingerprint, toy_videos, world
from vclip_cli.toy.world import AXES, MOTIONS, SHAPES, class_name, pairs


def test_there_are_enough_base_pairs_and_the_parts_share_none():
    base, novel = pairs("base"), pairs("novel")
    assert len(base) == len(set(base)) == 28
    assert len(novel) == len(set(novel)) == 14
    assert not set(base) & set(novel)


@pytest.mark.parametrize("part", ["base", "novel"])
def test_every_pair_has_its_opposite_in_the_same_part(part):
    members = set(pairs(part))
    for axis in AXES.values():
        rises = {shape for shape, motion in members if motion == axis.rising}
        assert rises == {shape for shape, motion in members if motion == axis.falling}


def test_novel_pairs_are_made_of_shapes_and_motions_seen_in_base():
    base = pairs("base")
    for shape, motion in pairs("novel"):
        assert shape in {seen for seen, _ in base}
        assert motion in {seen for _, seen in base}
    assert {motion for _, motion in pairs("novel")} == set(MOTIONS)


def test_clips_of_parts_and_splits_are_disjoint_and_counted():
    clips = toy_videos()
    assert len({clip.video_id for clip in clips}) == len({clip.path for clip in clips}) == 980
    counts = Counter((clip.class_name, clip.part, clip.split) for clip in clips)
    for shape, motion in pairs("base"):
        name = class_name(shape, motion)
        assert [counts[name, "base", split] for split in ("train", "val", "test")] == [16, 4, 10]
        assert counts[name, "novel", "test"] == 0
    assert {clip.split for clip in clips if clip.part == "novel"} == {"test"}


def test_every_split_of_a_class_mixes_the_containers():
    kinds = Counter(
        (clip.class_name, clip.split, clip.path.rpartition(".")[2]) for clip in toy_videos()
    )
    groups = {(name, split) for name, split, _ in kinds}
    for name, split in groups:
        assert all(kinds[name, split, kind] >= 1 for kind in ("mp4", "avi", "webm"))


def test_the_fingerprint_is_stable_and_follows_the_renderer(monkeypatch):
    before = toy_fingerprint()
    assert before == toy_fingerprint() and len(before) == 64
    monkeypatch.setitem(world.RENDERER, "renderer", world.RENDERER_VERSION + 1)
    assert toy_fingerprint() != before


def test_the_label_set_lists_the_pairs_in_the_clips_order():
    labels = load_label_set("toy")
    assert labels.names == list(dict.fromkeys(clip.class_name for clip in toy_videos()))
    for part in ("base", "novel"):
        assert labels.subsets[part] == [class_name(*pair) for pair in pairs(part)]


def test_the_shape_label_set_lists_the_shapes():
    assert load_label_set("toy-shapes").names == list(SHAPES)
