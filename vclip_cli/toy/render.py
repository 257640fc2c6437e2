"""The toy videos as files in a folder. Files that are there are kept; each is made on its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.files import require_writable_folder, whole_file
from vclip_cli.toy.world import FRAMES, RATE, ToyVideo, toy_videos

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vclip_cli.toy.multi import MultiVideo

Video = TypeVar("Video", "ToyVideo", "MultiVideo")


class Coding(NamedTuple):
    """A container with the codec and the options used in it."""

    container: str
    encoder: str
    codec: str
    options: dict[str, str]


# Without this, x264's look-ahead makes different choices from run to run, even on one thread.
_NO_LOOK_AHEAD = "rc-lookahead=0:mbtree=0:b-adapt=0:weightp=0"

CODINGS = {
    ".mp4": Coding(
        "mp4",
        "libx264",
        "h264",
        {"preset": "veryfast", "crf": "20", "bf": "2", "g": "12", "x264-params": _NO_LOOK_AHEAD},
    ),
    ".avi": Coding("avi", "mpeg4", "mpeg4", {"qscale": "3", "g": "12"}),
    ".webm": Coding(
        "webm", "libvpx-vp9", "vp9", {"crf": "24", "deadline": "realtime", "cpu-used": "8"}
    ),
}
"""By file extension."""


def render_toy(
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    only: Collection[str] | None = None,
) -> list[ToyVideo]:
    """Draw and encode the videos that `folder` lacks; return all that it should hold.

    progress: called with (done, total) after every video; only: the wanted video ids, None for
    all. Damaged files are made again. Raises UsageError for an unknown id or a folder that cannot
    be written, StorageError when writing fails.
    """
    from vclip_cli.toy.drawing import draw_frames

    return _render(folder, _chosen(toy_videos(), only), draw_frames, progress)


def render_multi(
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    only: Collection[str] | None = None,
) -> list[MultiVideo]:
    """As `render_toy`, for the videos of `toy-multi`."""
    from vclip_cli.toy.drawing import draw_multi_frames
    from vclip_cli.toy.multi import multi_videos

    return _render(folder, _chosen(multi_videos(), only), draw_multi_frames, progress)


def _chosen(videos: Sequence[Video], only: Collection[str] | None) -> list[Video]:
    if only is None:
        return list(videos)
    wanted = set(only)
    known = {video.video_id for video in videos}
    for video_id in sorted(wanted - known):
        raise UsageError(
            f"the embedded benchmark has no video {video_id!r}", hint=did_you_mean(video_id, known)
        )
    return [video for video in videos if video.video_id in wanted]


def _render(
    folder: Path,
    videos: list[Video],
    draw: Callable[[Video], Any],
    progress: Callable[[int, int], None] | None,
) -> list[Video]:
    require_writable_folder(folder, "VCLIP_CACHE")
    for done, video in enumerate(videos, start=1):
        path = folder / video.path
        if not _is_whole(path):
            data = encode_video(draw(video), path.suffix, RATE)
            with whole_file(path) as temporary:
                temporary.write_bytes(data)
        if progress is not None:
            progress(done, len(videos))
    return videos


def encode_video(frames: NDArray[np.uint8], extension: str, rate: int) -> bytes:
    """Encode RGB frames (T, H, W, 3) at `rate` frames per second into the bytes of a file.

    One thread and bit-exact flags (no version strings, dates or random identifiers) give the same
    bytes each time on one machine.
    """
    import av

    coding = CODINGS[extension]
    file = io.BytesIO()
    with av.open(file, "w", format=coding.container, options={"fflags": "+bitexact"}) as container:
        options = {**coding.options, "threads": "1", "flags": "+bitexact"}
        stream = container.add_stream(coding.encoder, rate=rate, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 0
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def _is_whole(path: Path) -> bool:
    """Whether a file holds all its packets: a cut-off file lacks its index or its last packets."""
    import av

    if not path.is_file():
        return False
    try:
        with av.open(path) as container:
            stream = container.streams.best("video")
            return (
                stream is not None
                and sum(packet.size > 0 for packet in container.demux(stream)) == FRAMES
            )
    except av.FFmpegError:
        return False
