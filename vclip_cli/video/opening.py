"""Opening a video file with PyAV, so that whatever goes wrong becomes one error naming the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vclip_cli.common.errors import VideoError

# What PyAV raises: its own errors, and plain ones of many kinds.
LIBRARY_ERRORS = (av.FFmpegError, OSError, ValueError, RuntimeError, LookupError, ArithmeticError)

_LISTS_OF_FILES = frozenset(
    (
        *("applehttp", "concat", "dash", "hls", "image2", "imf", "lavfi", "rtp", "rtsp", "sap"),
        *("sdp", "tedcaptions", "webm_dash_manifest"),
    )
)
"""Formats that are lists of other files or streams: a clip must not read what lies beside it."""
MOST_PIXELS = 2**26
"""Of one picture: twice those of 8K. A damaged header can claim any size, and memory for it."""


@cache
def _containers() -> str:
    return ",".join(sorted(av.formats_available - _LISTS_OF_FILES))


@dataclass(frozen=True)
class Source:
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


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path, once it is known to be a file with something in it that can be read.

    Raises VideoError when it is missing, a folder, not permitted or empty.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise VideoError("no such video file", where=str(path))
        if not path.is_file():
            raise VideoError("is not a file", where=str(path), expected="a video file")
        with path.open("rb") as stream:
            if not stream.read(1):
                raise VideoError("the video file is empty", where=str(path))
    except (OSError, ValueError) as error:
        raise VideoError(f"the video file cannot be read: {reason(error)}", where=str(path)) from (
            error
        )
    return path


@contextmanager
def open_video(path: Path) -> Iterator[Source]:
    """The file opened for one thread, closed again on the way out.

    Raises VideoError when it is no video, holds no video stream, or its codec is not known.
    """
    with ExitStack() as stack:
        with library_errors(path):
            # An absolute path is never taken for a URL; nothing but it may be opened from within.
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
        _refuse_monster(path, stream)
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"max_pixels": str(MOST_PIXELS)}
        yield Source(path, container, stream)


def _refuse_monster(path: Path, stream: VideoStream) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MOST_PIXELS:
        raise VideoError(
            "its pictures are larger than any that are read",
            where=str(path),
            found=f"{width} x {height}",
            expected=f"at most {MOST_PIXELS:,} pixels",
        )


@contextmanager
def library_errors(path: Path) -> Iterator[None]:
    """Turn what PyAV raises into a VideoError that names the file."""
    try:
        yield
    except LIBRARY_ERRORS as error:
        raise VideoError(f"cannot be read as a video: {reason(error)}", where=str(path)) from error


def reason(error: BaseException) -> str:
    """The library's own words on one line, or the error's name where it has none."""
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(words.split()) or type(error).__name__
