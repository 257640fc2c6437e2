"""Sound clips of odd kinds decode; monsters are refused before they fill the memory."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from make_clips import paint, read_number, write_clip
from PIL import Image

from vclip_cli.common.errors import VideoError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.video import opening, pictures, read_frames
from vclip_cli.video.preprocess import preprocess_frames

FAST = {"preset": "ultrafast"}
X265 = {"x265-params": "log-level=none"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}
KINDS = {
    "ten bits": dict(codec="libx265", pixel_format="yuv420p10le", options=X265),
    "444": dict(pixel_format="yuv444p", options=FAST),
    "grey": dict(pixel_format="gray", options=FAST),
    "full range": dict(codec="mjpeg", pixel_format="yuvj420p"),
    "alpha": dict(codec="libvpx-vp9", pixel_format="yuva420p", options=VP9),
    "alpha in RGB": dict(codec="png", pixel_format="rgba"),
    "palette": dict(codec="gif", pixel_format="rgb8"),
    "odd times": dict(times=[0, 1, 2, 50, 51, 300, 301, 302], options=FAST),
    "on its side": dict(rotation=90, options=FAST),
    "thin": dict(size=(400, 8), options=FAST),
}  # fmt: skip
ENDINGS = {"alpha": "webm", "alpha in RGB": "mov", "palette": "gif", "full range": "avi"}


@pytest.mark.parametrize("kind", KINDS)
def test_odd_kinds_of_clips_decode(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"clip.{ENDINGS.get(kind, 'mp4')}"
    try:
        write_clip(path, 8, **{"options": {}, **KINDS[kind]})
    except (av.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg cannot write it: {error}")
    frames = read_frames(path, 8)
    assert frames.shape[0] == 8 and frames.shape[-1] == 3 and frames.dtype == np.uint8
    if kind != "thin":
        assert [read_number(frame) for frame in frames] == list(range(8))


def test_8k_frames(tmp_path: Path) -> None:
    """A hundred megabytes each at source size, small after the resize."""
    path = tmp_path / "clip.avi"
    large = Image.fromarray(paint(200, 192, 108)).resize((7680, 4320), Image.Resampling.NEAREST)
    large.save(tmp_path / "one.jpg", quality=30)
    with av.open(str(tmp_path / "one.jpg")) as still, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(still.streams.video[0])
        packet = next(packet for packet in still.demux() if packet.size)
        for number in range(2):
            copy = av.Packet(bytes(packet))
            copy.pts = copy.dts = number
            copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, True, stream
            container.mux(copy)
    frames = read_frames(path, indices=[1])
    assert frames.shape == (1, 4320, 7680, 3)
    small = preprocess_frames(frames, Preprocessing(size=64, resize_to=64))[0]
    assert small.shape == (1, 64, 64, 3)
    assert read_number(frames[0]) == 200


def test_pictures_of_absurd_sizes_in_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_clip(tmp_path / "clip.mp4", 8, options=FAST)
    monkeypatch.setattr(opening, "MOST_PIXELS", 96 * 64 - 1)
    with pytest.raises(VideoError, match="larger than any") as raised:
        read_frames(path, 4)
    assert raised.value.where == str(path)


def test_pictures_that_grow_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header states a small size; only the decoder sees the large ones."""
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuvj420p"
        container.start_encoding()
        for number, size in enumerate([(96, 64), *[(192, 128)] * 3]):
            data = io.BytesIO()
            Image.fromarray(paint(number, *size)).save(data, "JPEG")
            packet = av.Packet(data.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream = stream.codec_context.time_base, stream
            container.mux(packet)
    assert read_frames(path, 4).shape == (4, 64, 96, 3)
    monkeypatch.setattr(opening, "MOST_PIXELS", 128 * 100)
    with pytest.raises(VideoError) as raised:
        read_frames(path, 4)
    assert raised.value.where == str(path)


@pytest.mark.parametrize("shape", [(1, 2, 30_000, 3), (1, 30_000, 2, 3)])
@pytest.mark.parametrize("crops", [1, 3])
def test_strips_do_not_grow_into_monsters(shape: tuple[int, ...], crops: int) -> None:
    frames = np.zeros(shape, np.uint8)
    with pytest.raises(VideoError, match="too thin"):
        preprocess_frames(frames, Preprocessing(), crops)
    assert preprocess_frames(frames, Preprocessing(size=16, resize_to=16), crops).shape[1] == 1


def test_more_frames_than_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4", 8, options=FAST)
    monkeypatch.setattr(pictures, "MOST_BYTES", 4 * 96 * 64 * 3)
    assert len(read_frames(path, 4)) == 4
    with pytest.raises(VideoError, match="do not fit into memory"):
        read_frames(path, 5)
