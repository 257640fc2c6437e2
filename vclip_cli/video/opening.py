"""Opening a video file with PyAV; every error becomes one that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vclip_cli.common.errors import VideoError
from vclip_cli.video.decoded import reason

# PyAV raises its own errors and many kinds of built-in ones.
LIBRARY_ERRORS = (av.FFmpegError, OSError, ValueError, RuntimeError, LookupError, ArithmeticError)

_LISTS_OF_FILES = frozenset(
    (
        *("applehttp", "concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap"),
        *("sdp", "tedcaptions", "webm_dash_manifest"),
    )
)
"""Formats that list other files or streams. A video must not make us read other files."""
MOST_PIXELS = 2**26
"""Largest picture that is read: twice 8K. A damaged header can claim any size."""


@cache
def _containers() -> str:
    return ",".join(sorted(av.formats_available - _LISTS_OF_FILES))


@dataclass(frozen=True)
class OpenVideo:
    """An open video file and its best video stream."""

    path: Path
    container: InputContainer
    stream: VideoStream

    @property
    def codec(self) -> VideoCodecContext:
        """The decoder of the stream."""
        return self.stream.codec_context

    @property
    def codec_name(self) -> str:
        """The format's name (`av1`), not the decoder's (`libdav1d`)."""
        return self.codec.codec.canonical_name

    @property
    def fps(self) -> float | None:
        """Average frame rate as the container states it."""
        return float(self.stream.average_rate) if self.stream.average_rate else None

    @property
    def duration_seconds(self) -> float | None:
        """Duration as the stream or else the container states it."""
        if self.stream.duration and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        if self.container.duration:
            return self.container.duration / av.time_base
        return None

    def packets(self) -> Iterator[Packet]:
        """The packets that hold data, in decoding order. Raises what PyAV raises."""
        return (packet for packet in self.container.demux(self.stream) if packet.size)


@contextmanager
def open_video(path: Path) -> Iterator[OpenVideo]:
    """Open a video file for decoding on one thread; close it at the end.

    Raises VideoError when it is no video, holds no video stream, or its codec is unknown.
    """
    with ExitStack() as stack:
        with library_errors(path):
            # An absolute path cannot be read as a URL, and the file must not open others.
            container = av.open(
                str(path.absolute()),
                mode="r",
                options={"protocol_whitelist": "file", "format_whitelist": _containers()},
                metadata_errors="replace",
            )
            stack.enter_context(container)
            stream = container.streams.best("video")
        if not isinstance(stream, VideoStream):
            raise VideoError("holds no video stream", where=str(path))
        if stream.codec_context is None:
            raise VideoError("no decoder for its video codec is known", where=str(path))
        width, height = stream.codec_context.width, stream.codec_context.height
        if width * height > MOST_PIXELS:
            raise VideoError(
                "its pictures are larger than any that are read",
                where=str(path),
                found=f"{width} x {height}",
                expected=f"at most {MOST_PIXELS:,} pixels",
            )
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield OpenVideo(path, container, stream)


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn what PyAV raises into a VideoError that names the file."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise VideoError(f"cannot be read as a video: {reason(error)}", where=str(path)) from error
