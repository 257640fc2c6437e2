from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from make_clips import paint, write_audio, write_clip
from PIL import Image

from vclip_cli.common.errors import VideoError
from vclip_cli.video import decode, read_frames
from vclip_cli.video.decoders import decoder_versions
from vclip_cli.video.exact import require_decodable
from vclip_cli.video.sampling import Sampling

INSTALLED = [name for name, version in decoder_versions().items() if version is not None]
X264 = {"preset": "veryfast", "x264-params": "keyint=12:bframes=2:scenecut=0"}
FASTSTART = {"movflags": "faststart"}
GOOD = {
    "plain.mp4": dict(options=X264),
    "faststart.mp4": dict(options=X264, container_options=FASTSTART),
    "stream.ts": dict(options=X264),
    "matroska.mkv": dict(options=X264),
    "mpeg4.avi": dict(codec="mpeg4", options={"bf": "2", "g": "12"}),
    "vp8.webm": dict(codec="libvpx", options={"deadline": "realtime", "cpu-used": "8", "g": "12"}),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    return {
        name: write_clip(folder / name, 40, **settings).read_bytes()
        for name, settings in GOOD.items()
    }


def assert_refused(path: Path, reason: str) -> None:
    """Every call refuses the file by name, and with this reason where our own reader is asked."""
    for decoder in INSTALLED:
        with pytest.raises(VideoError) as error:
            read_frames(path, 8, decoder)
        assert error.value.where == str(path)
        if decoder == "exact":
            assert error.match(reason)
    for full in (False, True):
        with pytest.raises(VideoError, match=reason) as error:
            require_decodable(path, full=full)
        assert error.value.where == str(path)


def test_missing(tmp_path):
    assert_refused(tmp_path / "missing.mp4", "no such video file")


def test_folder(tmp_path):
    assert_refused(tmp_path, "not a file")


def test_name_that_no_file_can_have():
    with pytest.raises(VideoError):
        read_frames("a\0b.mp4")


def test_empty(tmp_path):
    path = tmp_path / "empty.mp4"
    path.touch()
    assert_refused(path, "is empty")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_not_permitted(tmp_path):
    path = write_clip(tmp_path / "closed.mp4", 10)
    path.chmod(0)
    assert_refused(path, "cannot be read")


def test_not_permitted_by_the_system(tmp_path, monkeypatch):
    path = write_clip(tmp_path / "closed.mp4", 10)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert_refused(path, "Permission denied")


@pytest.mark.parametrize("text", ["no video at all\n" * 50, "#EXTM3U\n#EXTINF:1,\nother.ts\n", "x"])
def test_text_named_as_a_video(tmp_path, text):
    path = tmp_path / "text.mp4"
    path.write_text(text)
    assert_refused(path, "cannot be read as a video")


def test_audio_only(tmp_path):
    assert_refused(write_audio(tmp_path / "audio.mp4"), "no video stream")


def test_jpeg_named_as_a_video(tmp_path):
    path = tmp_path / "still.mp4"
    Image.fromarray(paint(77)).save(path, "JPEG")
    assert_refused(path, "single frame")
    assert read_frames(path, 4, allow_single=True).shape == (4, 64, 96, 3)


@pytest.mark.parametrize("name", ["none.mp4", "none.avi"])
def test_no_frame(tmp_path, name):
    path = tmp_path / name
    options = {"movflags": "empty_moov"} if name.endswith("mp4") else {}
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        container.start_encoding()
    assert_refused(path, "no frame")


@pytest.mark.parametrize("name", ["one.mp4", "one.avi"])
def test_one_frame(tmp_path, name):
    codec = "libx264" if name.endswith("mp4") else "mpeg4"
    path = write_clip(tmp_path / name, 1, codec=codec)
    assert_refused(path, "single frame")
    for decoder in INSTALLED:
        assert len(read_frames(path, 8, decoder, allow_single=True)) == 8


def test_two_frames_are_enough(tmp_path):
    path = write_clip(tmp_path / "two.mp4", 2)
    assert read_frames(path, 8).shape == (8, 64, 96, 3)


@pytest.mark.parametrize("name", GOOD)
def test_cut_off_files_give_their_rest_or_one_error(tmp_path, good, name):
    path = tmp_path / name
    whole = good[name]
    for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        _assert_decodes_or_refuses(path)


@pytest.mark.parametrize("name", GOOD)
def test_flipped_bytes_give_frames_or_one_error(tmp_path, good, name):
    path = tmp_path / name
    rng = np.random.default_rng(0)
    for flips in (1, 3, 10, 30, 100, 300):
        broken = np.frombuffer(good[name], np.uint8).copy()
        places = rng.integers(len(broken), size=flips)
        broken[places] = rng.integers(256, size=flips)
        path.write_bytes(broken.tobytes())
        _assert_decodes_or_refuses(path)


def _assert_decodes_or_refuses(path: Path) -> None:
    """Whatever is in the file, our own reader gives frames or a VideoError that names the file."""
    for read in (
        lambda: decode(path, Sampling(8).indices).frames.shape[0],
        lambda: require_decodable(path),
        lambda: require_decodable(path, full=True),
    ):
        try:
            assert read() in (8, None)
        except VideoError as error:
            assert error.where == str(path)


def test_a_cut_off_file_is_sampled_over_what_is_left_of_it(tmp_path, good):
    path = tmp_path / "half.mp4"
    data = good["faststart.mp4"]
    path.write_bytes(data[: (data.index(b"mdat") + len(data)) // 2])
    found = decode(path, Sampling(8).indices)
    assert 2 <= found.frame_count < 40
    assert found.indices.tolist() == Sampling(8).indices(found.frame_count)[0].tolist()
    assert found.damaged.failed_packets > 0
    every = decode(path, lambda n: range(n))
    assert len(every.frames) == every.frame_count == found.frame_count
    require_decodable(path, full=True)


def test_damage_inside_is_counted(tmp_path, good):
    path = tmp_path / "damaged.mp4"
    data = bytearray(good["faststart.mp4"])
    start = data.index(b"mdat") + 8
    for place in range(start + (len(data) - start) // 2, len(data), 97):
        data[place] ^= 0xFF
    path.write_bytes(data)
    assert decode(path, lambda n: range(n)).damaged


def test_names_that_other_readers_trip_over(tmp_path):
    for name in ("a#b&(c)!;d=e.mp4", "concat:x.mp4", "100%d 50%.mp4", "ünï cödé 視頻.mp4", "-.mp4"):
        path = write_clip(tmp_path / "clip.mp4", 4).rename(tmp_path / name)
        assert read_frames(path, 4).shape[0] == 4
        os.chdir(tmp_path)
        assert read_frames(name, 4).shape[0] == 4


def test_handles_are_closed_after_good_and_bad_files(tmp_path, good):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("no /proc here")
    fine, broken = tmp_path / "fine.mp4", tmp_path / "broken.mp4"
    fine.write_bytes(good["plain.mp4"])
    broken.write_bytes(good["faststart.mp4"][:1500])
    before = len(list(descriptors.iterdir()))
    for _ in range(10):
        read_frames(fine, 4)
        require_decodable(fine)
        with pytest.raises(VideoError):
            read_frames(broken, 4)
    assert len(list(descriptors.iterdir())) == before


def test_errors_travel_between_processes(tmp_path):
    with pytest.raises(VideoError) as error:
        read_frames(tmp_path / "missing.mp4")
    again = pickle.loads(pickle.dumps(error.value))
    assert str(again) == str(error.value)


def test_importing_the_room_loads_no_heavy_library():
    check = (
        "import sys, vclip_cli.video, vclip_cli.video.sampling, vclip_cli.video.decoders\n"
        "import vclip_cli.video.decoded, vclip_cli.video.preprocess\n"
        "loaded = {'av', 'cv2', 'torch', 'decord', 'PIL'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert callable(vclip_cli.video.read_frames) and 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
