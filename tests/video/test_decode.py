from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from make_clips import hide_vp8_frames, read_number, trim_by_stream_copy, write_clip

from vclip_cli.common.errors import UsageError, VideoError
from vclip_cli.video import decode, packets, read_frames
from vclip_cli.video.decoders import DECODERS, decoder_versions, describe_decoder
from vclip_cli.video.exact import require_decodable
from vclip_cli.video.opening import OpenVideo, open_video
from vclip_cli.video.sampling import Sampling, midpoint_indices

needs_decord = pytest.mark.skipif(
    decoder_versions()["decord"] is None, reason="decord has no wheel here"
)


def x264(parameters: str) -> dict[str, str]:
    return {"preset": "veryfast", "x264-params": f"{parameters}:scenecut=0:b-adapt=0"}


def x265(parameters: str) -> dict[str, str]:
    quiet = "scenecut=0:log-level=none:pools=1:frame-threads=1"
    return {"preset": "ultrafast", "x265-params": f"{parameters}:{quiet}"}


VP8 = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "16", "g": "24", "b": "200k"}
VP9 = {**VP8, "auto-alt-ref": "1"}
SVT_AV1 = {"preset": "8", "g": "12", "crf": "10", "svtav1-params": "lp=1"}
UNEVEN_TIMES = [i + i * i // 7 for i in range(60)]

# Name of the file: how it is encoded, and whether frames can be told by their pts.
CLIPS = {
    "closed_gop.mp4": (dict(frames=100, options=x264("keyint=24:bframes=3")), True),
    "open_gop.mp4": (dict(frames=100, options=x264("keyint=12:bframes=3:open-gop=1")), True),
    "open_gop.mkv": (dict(frames=100, options=x264("keyint=12:bframes=3:open-gop=1")), True),
    "long_gop.mp4": (dict(frames=120, options=x264("keyint=250:bframes=8:b-pyramid=normal")), True),
    "intra_refresh.mkv": (
        dict(frames=60, options=x264("keyint=20:bframes=0:intra-refresh=1")),
        True,
    ),
    "variable_rate.mp4": (
        dict(frames=60, times=UNEVEN_TIMES, options=x264("keyint=12:bframes=2")),
        True,
    ),
    "fragmented.mp4": (
        dict(
            frames=60,
            options=x264("keyint=12:bframes=2"),
            container_options={"movflags": "frag_keyframe+empty_moov"},
        ),
        True,
    ),
    "transport.ts": (dict(frames=60, options=x264("keyint=24:bframes=3")), True),
    "interlaced.ts": (dict(frames=60, options=x264("keyint=12:bframes=2:interlaced=1")), False),
    "odd_size.mp4": (
        dict(
            frames=60,
            size=(97, 65),
            pixel_format="yuv444p",
            options=x264("keyint=12:bframes=2"),
        ),
        True,
    ),
    "rotated_90.mp4": (dict(frames=40, rotation=90, options=x264("keyint=12:bframes=2")), True),
    "rotated_180.mp4": (dict(frames=40, rotation=180, options=x264("keyint=12:bframes=2")), True),
    "hevc.mp4": (dict(frames=60, codec="libx265", options=x265("keyint=12:bframes=3")), True),
    "hevc_open_gop.mkv": (
        dict(frames=60, codec="libx265", options=x265("keyint=12:bframes=3:open-gop=1")),
        True,
    ),
    "vp8.webm": (dict(frames=60, codec="libvpx", options=VP8), True),
    "vp9.webm": (dict(frames=60, codec="libvpx-vp9", options=VP9), True),
    "av1.mp4": (dict(frames=40, codec="libsvtav1", options=SVT_AV1), True),
    "h264.avi": (dict(frames=60, options=x264("keyint=12:bframes=2")), False),
    "mpeg4.avi": (
        dict(frames=100, codec="mpeg4", options={"bf": "2", "g": "12", "b_strategy": "0"}),
        False,
    ),
    "mpeg4_without_b.avi": (dict(frames=60, codec="mpeg4", options={"g": "12"}), False),
    "mpeg2.mpg": (dict(frames=60, codec="mpeg2video", options={"bf": "2", "g": "12"}), False),
    "mjpeg.avi": (dict(frames=40, codec="mjpeg", pixel_format="yuvj420p"), False),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def clip(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.exists():
        settings = dict(CLIPS[name][0])
        codec = settings.get("codec", "libx264")
        try:
            av.Codec(codec, "w")
        except av.codec.codec.UnknownCodecError:
            pytest.skip(f"this build of PyAV has no encoder {codec}")
        write_clip(path, **settings)
    return path


def whole_video(path: Path) -> list[np.ndarray]:
    """All frames, by the plainest of decodes."""
    with av.open(str(path)) as container:
        return [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
            for frame in container.decode(video=0)
        ]


def assert_exact(path: Path, expected: list[np.ndarray], first: int = 0) -> None:
    plans = [Sampling(frames).indices for frames in (8, 16, 32)]
    plans += [Sampling(4, clips=3).indices, lambda n: range(n), lambda n: [n - 1], lambda n: [0]]
    for plan in plans:
        found = decode(path, plan)
        assert found.frame_count == len(expected)
        assert found.indices.tolist() == np.ravel(plan(len(expected))).tolist()
        for index, frame in zip(found.indices, found.frames, strict=True):
            np.testing.assert_array_equal(frame, expected[index])
            assert read_number(frame) == first + index
        assert not found.damaged


@pytest.mark.parametrize("name", CLIPS)
def test_frames_are_those_of_a_full_decode(folder, name):
    path = clip(folder, name)
    expected = whole_video(path)
    assert len(expected) == CLIPS[name][0]["frames"]
    assert_exact(path, expected)


@pytest.mark.parametrize("name", CLIPS)
def test_only_files_with_unsure_times_are_decoded_from_start_to_end(folder, name):
    with open_video(clip(folder, name)) as source:
        listed = packets.list_packets(source)
        assert packets.pts_are_reliable(source, listed) is CLIPS[name][1]


class CountingCodec:
    """A decoder that counts the packets that it gets, and refuses the first `refused` of them."""

    def __init__(self, codec, counts: dict[str, int]) -> None:
        self.__dict__.update(_codec=codec, _counts=counts)

    def __getattr__(self, name):
        return getattr(self._codec, name)

    def __setattr__(self, name, value):
        setattr(self._codec, name, value)

    def decode(self, packet):
        self._counts["packets"] += packet is not None
        if self._counts["refused"] > 0:
            self._counts["refused"] -= 1
            raise av.error.InvalidDataError(1, "refused")
        return self._codec.decode(packet)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many packets were decoded, however often a file was opened."""
    found = {"packets": 0, "refused": 0}
    codec = OpenVideo.codec.fget
    monkeypatch.setattr(OpenVideo, "codec", property(lambda v: CountingCodec(codec(v), found)))
    return found


def packets_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(packet.size > 0 for packet in container.demux(video=0))


@pytest.mark.parametrize(
    "name", [name for name in CLIPS if CLIPS[name][1] and name != "intra_refresh.mkv"]
)
def test_no_packet_is_decoded_twice_where_times_are_sure(folder, name, counts):
    path = clip(folder, name)
    for frames in (4, 16, 32):
        counts["packets"] = 0
        decode(path, Sampling(frames).indices)
        assert 0 < counts["packets"] <= packets_in(path)


@pytest.mark.parametrize("name", ["closed_gop.mp4", "open_gop.mp4", "long_gop.mp4", "vp9.webm"])
def test_groups_without_a_wanted_frame_are_not_decoded(folder, name, counts):
    frames = CLIPS[name][0]["frames"]
    decode(clip(folder, name), lambda n: [1, n - 10])
    most = frames if name == "long_gop.mp4" else frames / 2
    assert 2 <= counts["packets"] <= most


@pytest.mark.parametrize("name", ["closed_gop.mp4", "open_gop.mp4"])
@pytest.mark.parametrize("skip", [1, 13, 33, 50])
def test_frames_hidden_by_an_edit_list_do_not_count(folder, name, skip):
    path = trim_by_stream_copy(clip(folder, name), folder / f"trim_{skip}_{name}", skip=skip)
    expected = whole_video(path)
    assert len(expected) == 100 - skip
    assert packets_in(path) > len(expected)
    assert_exact(path, expected, first=skip)


def test_hidden_vp8_pictures_do_not_count(folder):
    hidden = {5, 17, 30, 31, 59}
    path = hide_vp8_frames(clip(folder, "vp8.webm"), folder / "hidden.webm", hidden)
    expected = whole_video(path)
    assert len(expected) == 60 - len(hidden)
    found = decode(path, lambda n: range(n))
    assert found.frame_count == len(expected)
    np.testing.assert_array_equal(found.frames, np.stack(expected))
    shown = sorted(set(range(60)) - hidden)
    assert [read_number(frame) for frame in found.frames] == shown
    for indices in ([0], [20, 54]):  # what is not asked for is counted by its packets alone
        some = decode(path, lambda n, indices=indices: indices)
        assert some.frame_count == len(shown)
        assert [read_number(frame) for frame in some.frames] == [shown[i] for i in indices]


def test_hidden_vp9_pictures_are_told_from_shown_ones(folder):
    with av.open(str(clip(folder, "vp9.webm"))) as container:
        stream = container.streams.video[0]
        whole = [packet for packet in container.demux(stream) if packet.size]
        assert all(packets.shows_a_picture(packet, "vp9") for packet in whole)
        split = BitStreamFilterContext("vp9_superframe_split", stream)
        single = [part for packet in whole for part in split.filter(packet)]
        assert len(single) > len(whole) == 60
        assert sum(packets.shows_a_picture(packet, "vp9") for packet in single) == 60


@pytest.mark.parametrize("name", ["closed_gop.mp4", "open_gop.mkv", "vp9.webm"])
def test_files_too_large_to_hold_are_read_twice(folder, name, monkeypatch):
    monkeypatch.setattr(packets, "MOST_BYTES_HELD", 100)
    path = clip(folder, name)
    assert_exact(path, whole_video(path))


def test_a_packet_that_the_decoder_refuses_leads_to_a_full_decode(folder, counts):
    path = clip(folder, "closed_gop.mp4")
    expected = whole_video(path)
    counts["refused"] = 1
    found = decode(path, Sampling(8).indices)
    assert counts["packets"] == 1 + len(expected)
    assert not found.damaged
    for index, frame in zip(found.indices, found.frames, strict=True):
        np.testing.assert_array_equal(frame, expected[index])


def test_facts_come_with_the_frames(folder):
    found = decode(clip(folder, "rotated_90.mp4"), lambda n: [[0, 1], [1, 2]])
    assert found.frames.shape == (4, 96, 64, 3)
    assert found.frames.dtype == np.uint8
    assert found.frames.flags.c_contiguous
    assert found.indices.tolist() == [0, 1, 1, 2]
    assert (found.rotation, found.frame_count, found.fps) == (90, 40, 25.0)
    assert found.duration_seconds == pytest.approx(40 / 25)
    assert found.decoder == "exact"


def test_read_frames_takes_the_midpoints(folder):
    path = clip(folder, "closed_gop.mp4")
    frames = read_frames(str(path), frames=8)
    assert frames.shape == (8, 64, 96, 3)
    assert [read_number(frame) for frame in frames] == midpoint_indices(100, 8).tolist()
    some = read_frames(path, indices=[7, 3, 3])
    assert [read_number(frame) for frame in some] == [7, 3, 3]


def test_frames_outside_the_video_are_refused(folder):
    for decoder in DECODERS:
        if decoder_versions()[decoder] is None:
            continue
        for name in ("closed_gop.mp4", "mpeg4.avi"):
            for indices in ([0, 100], [-1]):
                with pytest.raises(VideoError, match=r"expected 0 to 99"):
                    read_frames(clip(folder, name), indices=indices, decoder=decoder)
    with pytest.raises(UsageError, match="names no frame"):
        read_frames(clip(folder, "closed_gop.mp4"), indices=[])


def test_a_fault_in_the_plan_is_not_taken_for_a_bad_video(folder):
    def faulty(_: int) -> list[int]:
        raise ZeroDivisionError

    for name in ("closed_gop.mp4", "mpeg4.avi"):
        with pytest.raises(ZeroDivisionError):
            decode(clip(folder, name), faulty)


@needs_decord
@pytest.mark.parametrize("name", ["closed_gop.mp4", "variable_rate.mp4", "rotated_90.mp4"])
def test_decord_gives_the_same_frames_where_it_is_right(folder, name):
    path = clip(folder, name)
    published = decode(path, Sampling(16).indices, "decord")
    exact = decode(path, Sampling(16).indices)
    assert published.frame_count == exact.frame_count
    assert published.decoder == "decord"
    np.testing.assert_array_equal(published.frames, exact.frames)


@needs_decord
def test_decord_keeps_its_own_frame_count(folder):
    path = trim_by_stream_copy(clip(folder, "closed_gop.mp4"), folder / "count.mp4", skip=33)
    assert decode(path, Sampling(8).indices).frame_count == 67
    assert decode(path, Sampling(8).indices, "decord").frame_count > 67


def test_unknown_decoders_are_refused_with_near_misses(folder):
    with pytest.raises(UsageError, match="did you mean 'exact'"):
        read_frames(clip(folder, "closed_gop.mp4"), decoder="exakt")
    with pytest.raises(UsageError, match="unknown decoder"):
        describe_decoder("nothing")


def test_decoders_are_described_for_records():
    for name in DECODERS:
        described = describe_decoder(name)
        assert described["name"] == name
        assert set(described) == {"name", "library", "version", "mode"}
    assert av.__version__ in describe_decoder("exact")["version"]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", CLIPS)
def test_all_of_these_are_found_decodable(folder, name, full):
    require_decodable(clip(folder, name), full=full)
