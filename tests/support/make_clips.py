"""Encodes small test clips whose frame numbers can be read back from the pixels.

A frame's number is painted as 4 x 2 large blocks, one bit each, bright for 1 and dark for 0, most
significant bit at the top left. Lossy coding leaves it readable, and so does resizing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

COLUMNS, ROWS = 4, 2
MOST_FRAMES = 2 ** (COLUMNS * ROWS)
DARK, BRIGHT = 40, 215


def paint(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """The RGB picture (H, W, 3) of a frame number."""
    if not 0 <= number < MOST_FRAMES:
        raise ValueError(f"frame numbers go from 0 to {MOST_FRAMES - 1}, not {number}")
    picture = np.full((height, width, 3), DARK, np.uint8)
    for bit, (rows, columns) in enumerate(_blocks(width, height)):
        if number >> (COLUMNS * ROWS - 1 - bit) & 1:
            picture[rows, columns] = BRIGHT
    return picture


def read_number(picture: np.ndarray) -> int:
    """The frame number painted into a picture (H, W, 3)."""
    number = 0
    height, width = picture.shape[:2]
    for rows, columns in _blocks(width, height, inset=0.25):
        number = number << 1 | int(picture[rows, columns].mean() > (DARK + BRIGHT) / 2)
    return number


def _blocks(width: int, height: int, inset: float = 0.0) -> Iterator[tuple[slice, slice]]:
    """The rows and columns of each block in reading order, less a margin as a share of its size."""
    for row in range(ROWS):
        for column in range(COLUMNS):
            yield _part(row, ROWS, height, inset), _part(column, COLUMNS, width, inset)


def _part(number: int, parts: int, length: int, inset: float) -> slice:
    return slice(
        round((number + inset) * length / parts), round((number + 1 - inset) * length / parts)
    )


def write_clip(
    path: Path,
    frames: int | Iterable[int] = 60,
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    size: tuple[int, int] = (96, 64),
    fps: int = 25,
    times: Sequence[int] | None = None,
    rotation: int = 0,
    pixel_format: str = "yuv420p",
) -> Path:
    """Encode the pictures of the frame numbers into a file; its ending chooses the container.

    Args:
        path: the file to write.
        frames: how many frames, or their numbers.
        codec: FFmpeg's name of the encoder.
        options: of the encoder.
        container_options: of the muxer.
        size: width and height of the coded picture in pixels, before the display rotation.
        fps: frames a second, and the unit of `times`.
        times: presentation time of each frame in units of 1/fps (variable frame rate).
        rotation: display rotation to record, in degrees counter-clockwise; the numbers are painted
            so that they stand upright once it is applied.
        pixel_format: of the encoded pictures.
    """
    numbers = range(frames) if isinstance(frames, int) else frames
    turns = rotation // 90
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = Fraction(1, fps)
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        for place, number in enumerate(numbers):
            upright = paint(number, *(size if turns % 2 == 0 else size[::-1]))
            coded = np.ascontiguousarray(np.rot90(upright, -turns))
            picture = av.VideoFrame.from_ndarray(coded, format="rgb24")
            picture.pts = times[place] if times is not None else place
            picture.time_base = Fraction(1, fps)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def write_audio(path: Path) -> Path:
    """A file that holds a second of silence and no video stream."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path


def hide_vp8_frames(source: Path, target: Path, hidden: Iterable[int]) -> Path:
    """Copy a VP8 file with some pictures marked as not shown, as hidden reference pictures are."""
    chosen = set(hidden)
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = (packet for packet in container.demux(stream) if packet.size)
        for number, packet in enumerate(packets):
            data = bytearray(bytes(packet))
            if number in chosen:
                data[0] &= 0xEF
            changed = av.Packet(bytes(data))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe = packet.is_keyframe
            changed.stream = copy
            output.mux(changed)
    return target


def trim_by_stream_copy(source: Path, target: Path, *, skip: int) -> Path:
    """Cut off the first `skip` frames as a stream copy does: packets stay, an edit list hides them.

    Packets before the last keyframe that still leaves the rest decodable are dropped.
    """
    with av.open(str(source)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        times = sorted(packet.pts for packet in packets)
        start = times[skip]
        first = max(i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= start)
        with av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as output:
            copy = output.add_stream_from_template(stream)
            for packet in packets[first:]:
                packet.stream = copy
                packet.pts -= start
                packet.dts -= start
                output.mux(packet)
    return target
