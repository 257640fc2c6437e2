from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vclip_cli.common.errors import UsageError
from vclip_cli.video.sampling import (
    Sampling,
    dense_indices,
    midpoint_indices,
    random_segment_indices,
    view_indices,
)

lengths = st.integers(1, 100_000)
frame_numbers = st.integers(1, 64)
clip_numbers = st.integers(1, 10)


@given(n=lengths, frames=frame_numbers)
def test_midpoints_are_the_floor_of_the_exact_fraction(n, frames):
    expected = [floor(Fraction(i * n, frames) + Fraction(n, 2 * frames)) for i in range(frames)]
    assert midpoint_indices(n, frames).tolist() == expected


@given(n=lengths, frames=frame_numbers, clips=clip_numbers)
def test_views_are_the_floor_of_the_exact_fraction(n, frames, clips):
    expected = [
        [floor((i + Fraction(2 * v + 1, 2 * clips)) * n / frames) for i in range(frames)]
        for v in range(clips)
    ]
    assert view_indices(n, frames, clips).tolist() == expected


@given(n=lengths, frames=frame_numbers, clips=clip_numbers)
def test_views_together_are_one_finer_view(n, frames, clips):
    together = view_indices(n, frames, clips).T.ravel()
    assert together.tolist() == midpoint_indices(n, frames * clips).tolist()


def test_one_view_is_the_midpoint_rule():
    assert midpoint_indices(100, 8).tolist() == [6, 18, 31, 43, 56, 68, 81, 93]
    assert view_indices(100, 8, 1).tolist() == [midpoint_indices(100, 8).tolist()]


def test_short_videos_repeat_frames():
    assert midpoint_indices(3, 8).tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    assert midpoint_indices(1, 4).tolist() == [0, 0, 0, 0]


@given(
    n=lengths,
    frames=frame_numbers,
    clips=clip_numbers,
    stride=st.integers(1, 32),
)
def test_every_rule_stays_inside_the_video(n, frames, clips, stride):
    for plan in (Sampling(frames, clips), Sampling(frames, clips, "dense", stride)):
        indices = plan.indices(n)
        assert indices.shape == (clips, frames)
        assert indices.dtype == np.int64
        assert indices.min() >= 0
        assert indices.max() < n
        assert (np.diff(indices, axis=1) >= 0).all()


@given(n=lengths, frames=frame_numbers, seed=st.integers(0, 2**32))
def test_random_draws_one_frame_a_segment(n, frames, seed):
    indices = random_segment_indices(n, frames, np.random.default_rng(seed))
    assert indices.shape == (frames,) and indices.dtype == np.int64
    assert indices.min() >= 0 and indices.max() < n
    length = n // frames
    if length:
        assert (indices // length).tolist() == list(range(frames))
    else:
        again = random_segment_indices(n, frames, np.random.default_rng(seed + 1))
        assert indices.tolist() == again.tolist()


def test_random_reaches_every_frame_of_a_segment_and_is_seeded():
    drawn = np.stack(
        [random_segment_indices(35, 8, np.random.default_rng(seed)) for seed in range(200)]
    )
    for segment in range(8):
        assert set(drawn[:, segment]) == set(range(segment * 4, segment * 4 + 4))
    again = random_segment_indices(35, 8, np.random.default_rng(7))
    assert again.tolist() == drawn[7].tolist()


def test_random_rounds_where_there_are_fewer_frames_than_segments():
    rng = np.random.default_rng(0)
    assert random_segment_indices(5, 8, rng).tolist() == [0, 1, 1, 2, 2, 3, 4, 4]
    assert random_segment_indices(1, 4, rng).tolist() == [0, 0, 0, 0]  # round(0.75) is 1, modulo 1


def test_dense_clips_start_equidistantly():
    assert dense_indices(300, 8, 16, 1).tolist() == [[93 + 16 * i for i in range(8)]]
    starts = dense_indices(300, 8, 16, 3)[:, 0]
    assert starts.tolist() == [0, 94, 187]
    assert dense_indices(300, 8, 16, 3)[-1, -1] == 299


def test_dense_repeats_the_last_frame_of_a_short_video():
    assert dense_indices(10, 4, 4, 2).tolist() == [[0, 4, 8, 9], [0, 4, 8, 9]]


def test_sampling_is_recorded():
    sampling = Sampling(16, clips=4)
    assert sampling.as_dict() == {"frames": 16, "clips": 4, "rule": "uniform", "stride": 1}
    assert sampling == Sampling(**sampling.as_dict())


@pytest.mark.parametrize("values", [{"frames": 0}, {"frames": 8, "clips": 0}, {"frames": -1}])
def test_sampling_refuses_nothing_to_sample(values):
    with pytest.raises(UsageError, match="at least 1"):
        Sampling(**values)


def test_sampling_refuses_unknown_rules_and_stray_strides():
    with pytest.raises(UsageError, match="did you mean 'uniform'"):
        Sampling(8, rule="unifrom")
    with pytest.raises(UsageError, match="dense"):
        Sampling(8, stride=4)
    with pytest.raises(UsageError, match="for training only"):
        Sampling(8, rule="random").indices(100)
    with pytest.raises(UsageError, match="frames in the video"):
        Sampling(8).indices(0)
