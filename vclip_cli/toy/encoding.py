"""Frames to the bytes of a video file, the same bytes each time on one machine."""

from __future__ import annotations

import io
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray


class Coding(NamedTuple):
    """A container with the codec and the options used in it."""

    container: str
    encoder: str
    codec: str
    options: dict[str, str]


# Without this, x264's look-ahead makes other choices from run to run, even on one thread.
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


def encode_clip(frames: NDArray[np.uint8], extension: str, rate: int) -> bytes:
    """Encode RGB frames (T,H,W,3) at `rate` frames a second into the file of an extension.

    One thread and bit-exact flags: no version strings, dates or random identifiers.
    """
    coding = CODINGS[extension]
    stream_bytes = io.BytesIO()
    with av.open(
        stream_bytes, "w", format=coding.container, options={"fflags": "+bitexact"}
    ) as container:
        options = {**coding.options, "threads": "1", "flags": "+bitexact"}
        stream = container.add_stream(coding.encoder, rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 0
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return stream_bytes.getvalue()
