"""The rendered clips: codecs, determinism, independence, resumption, symmetry in time."""

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from vclip_cli.common.errors import UsageError
from vclip_cli.toy import render_toy, toy_videos
from vclip_cli.toy.drawing import (
    OUTLINES,
    Scene,
    draw_frames,
    generator,
    placed_outline,
    scenes_of,
    shape_mask,
)
from vclip_cli.toy.render import CODINGS
from vclip_cli.toy.world import AXES, FRAMES, RATE, SHAPES, SIZE

CLIPS = {clip.video_id: clip for clip in toy_videos()}
SIX = [clip.video_id for clip in toy_videos()[28:34]]
ONE_OF_EACH = SIX[:3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    render_toy(folder, only=SIX)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("video_id", ONE_OF_EACH)
def test_files_open_with_the_right_codec_rate_and_frames(folder, video_id):
    path = folder / CLIPS[video_id].path
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.codec.canonical_name == CODINGS[path.suffix].codec
        assert stream.average_rate == RATE
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert np.shape(decoded) == (FRAMES, SIZE, SIZE, 3)
    error = np.abs(np.stack(decoded).astype(int) - draw_frames(CLIPS[video_id]))
    assert error.mean() < 10
    assert path.stat().st_size < 30_000


def test_the_three_containers_are_all_among_them(folder):
    assert {Path(name).suffix for name in contents(folder)} == {".mp4", ".avi", ".webm"}


def test_mp4_files_hold_b_frames(folder):
    paths = list(folder.rglob("*.mp4"))
    assert paths
    for path in paths:
        with av.open(path) as container:
            kinds = [frame.pict_type for frame in container.decode(video=0)]
        assert av.video.frame.PictureType.B in kinds


def test_rendering_twice_gives_the_same_bytes_whatever_the_order(folder, tmp_path):
    for video_id in reversed(SIX):
        render_toy(tmp_path, only={video_id})
    assert contents(tmp_path) == contents(folder)


def test_pixels_depend_on_the_id_alone():
    first, second = CLIPS[SIX[0]], CLIPS[SIX[1]]
    before = draw_frames(first)
    other = draw_frames(second)
    assert np.array_equal(draw_frames(first), before)
    assert not np.array_equal(other, before)


def test_deleted_and_cut_files_are_made_again_and_whole_ones_kept(folder, tmp_path):
    render_toy(tmp_path, only=SIX)
    want = contents(tmp_path)
    paths = [tmp_path / CLIPS[video_id].path for video_id in SIX]
    paths[0].unlink()
    for path in paths[1:4]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    kept = paths[4].stat().st_mtime_ns
    render_toy(tmp_path, only=SIX)
    assert contents(tmp_path) == want == contents(folder)
    assert paths[4].stat().st_mtime_ns == kept


def test_a_killed_run_leaves_whole_files_only(tmp_path):
    class Killed(BaseException):
        pass

    def kill(done, total):
        if done == 2:
            raise Killed

    with pytest.raises(Killed):
        render_toy(tmp_path, progress=kill, only=SIX)
    assert len(contents(tmp_path)) == 2
    calls = []
    listed = render_toy(tmp_path, progress=lambda *call: calls.append(call), only=SIX)
    assert calls == [(done, 6) for done in range(1, 7)]
    assert set(contents(tmp_path)) == {clip.path for clip in listed}


def test_an_unknown_id_is_refused_with_a_near_miss(tmp_path):
    with pytest.raises(UsageError, match="circle_moving_left_train_00"):
        render_toy(tmp_path, only=["circle_moving_left_trian_00"])


@pytest.mark.parametrize("axis", AXES.values(), ids=lambda axis: axis.name)
def test_a_fall_is_a_rise_backwards(axis):
    """From the same draws, opposite motions show the same scenes in opposite order."""
    clip = CLIPS[SIX[0]]
    rise = scenes_of(replace(clip, motion=axis.rising), generator("draws"))
    fall = scenes_of(replace(clip, motion=axis.falling), generator("draws"))
    assert fall == rise[::-1]
    assert rise[0] != rise[-1]


def test_directions_are_what_they_are_called():
    scenes = {clip.motion: scenes_of(clip, generator("draws")) for clip in CLIPS.values()}
    assert scenes["moving right"][-1].x > scenes["moving right"][0].x
    assert scenes["moving down"][-1].y > scenes["moving down"][0].y
    assert scenes["growing"][-1].radius > scenes["growing"][0].radius
    assert scenes["spinning clockwise"][-1].angle > scenes["spinning clockwise"][0].angle


def test_positive_angles_turn_clockwise_on_the_screen():
    tip = placed_outline(Scene("triangle", 0.0, 0.0, 10.0, 90.0))[0]
    assert tip[0] > 9 and abs(tip[1]) < 1e-6  # y points down, so the tip went from top to right


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_stay_inside_the_frame_and_differ(shape):
    clips = [clip for clip in CLIPS.values() if clip.shape == shape][::7]
    for clip in clips:
        for scene in scenes_of(clip, generator(clip.video_id))[:: FRAMES - 1]:
            mask = shape_mask(scene)
            assert mask.max() == 255
            border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
            assert border.max() == 0
    assert set(OUTLINES) == set(SHAPES)


def test_sampled_frames_of_opposites_are_the_same_set():
    """The midpoints for T = 8 and 16 are symmetric, so that pooled frames carry no direction."""
    for count in (8, 16):
        picked = [int(i * FRAMES / count + FRAMES / (2 * count)) for i in range(count)]
        assert picked == [FRAMES - 1 - index for index in reversed(picked)]
