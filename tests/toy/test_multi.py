"""`toy-multi`: its clips, its labels, and its seen and unseen halves."""

from __future__ import annotations

import numpy as np

from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.protocol_lists import protocol_tests, protocol_training
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.toy.drawing import CELL, draw_multi_frames
from vclip_cli.toy.multi import multi_videos
from vclip_cli.toy.world import FRAMES, SHAPES, SIZE, class_name, pairs


def test_two_or_three_shapes_in_quarters_of_their_own() -> None:
    for clip in multi_videos():
        assert 2 <= len(clip.actors) <= 3
        assert len({actor.shape for actor in clip.actors}) == len(clip.actors)
        assert len({actor.cell for actor in clip.actors}) == len(clip.actors)
        assert len(clip.labels) == 2 * len(clip.actors)


def test_every_quarter_changes_where_something_moves_and_nowhere_else() -> None:
    clip = multi_videos()[0]
    frames = draw_multi_frames(clip).astype(int)
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    np.testing.assert_array_equal(frames, draw_multi_frames(clip))
    side = int(CELL)
    change = np.abs(frames[-1] - frames[0]).max(axis=-1)
    busy = {actor.cell for actor in clip.actors}
    for row in (0, 1):
        for column in (0, 1):
            quarter = change[row * side : (row + 1) * side, column * side : (column + 1) * side]
            assert (quarter.max() > 40) == ((row, column) in busy)


def test_the_label_set_is_that_of_the_renderer() -> None:
    dataset = open_dataset("toy-multi")
    label_set = dataset.label_set
    seen, unseen = ([class_name(*pair) for pair in pairs(part)] for part in ("base", "novel"))
    assert label_set.names == [*SHAPES, *seen, *unseen]
    assert set(label_set.subset("unseen")) == {"star", "moon", *unseen}
    assert set(label_set.subset("seen")) == {*SHAPES, *seen} - {"star", "moon"}
    assert {label for video in multi_videos() for label in video.labels} == set(label_set.names)
    counts = dataset.manifest.rows.groupby("splits")["class"].value_counts()
    assert counts["train"].min() >= 5
    assert counts["test"].min() >= 3


def test_training_knows_the_seen_labels_alone_and_every_test_has_all_videos() -> None:
    protocol, dataset = load_protocol("multi-label"), open_dataset("toy-multi")
    unseen = set(dataset.label_set.subset("unseen"))
    split, classes = protocol_training(protocol, dataset)
    assert set(classes) == set(dataset.label_set.subset("seen"))
    assert not set(split.rows["class"]) & unseen
    assert split.rows["video"].nunique() == 240
    tests = protocol_tests(protocol, dataset)
    assert [test.part for test in tests] == ["seen", "unseen", "generalised"]
    videos = [list(dict.fromkeys(test.rows["video"])) for test in tests]
    assert videos[0] == videos[1] == videos[2]
    assert len(videos[0]) == 112
    assert set(tests[1].rows["class"]) == unseen | {""}
    assert (tests[1].rows["class"] == "").sum() > 5
    assert not (tests[2].rows["class"] == "").any()
