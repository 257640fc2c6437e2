"""Damaged copies of small clips: the same seed gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from make_clips import write_clip

FRAMES = 24
X264 = {"preset": "veryfast", "x264-params": "keyint=12:bframes=2:scenecut=0:threads=1"}
VP9 = {"deadline": "realtime", "cpu-used": "8", "g": "12"}
CONTAINERS = {
    "h264.mp4": dict(options=X264, container_options={"movflags": "faststart"}),
    "mpeg4.avi": dict(codec="mpeg4", options={"bf": "2", "g": "12"}),
    "vp9.webm": dict(codec="libvpx-vp9", options=VP9),
    "h264.mkv": dict(options=X264),
    "h264.ts": dict(options=X264),
}
"""Four containers and the codecs that they usually hold, and a fifth without any index."""

Bytes = np.ndarray
HEADER = 900
"""Where the tables of these small files lie: sizes, offsets, codec parameters."""


def write_good(folder: Path) -> dict[str, Bytes]:
    """One sound clip in each container, as bytes."""
    return {
        name: np.frombuffer(write_clip(folder / name, FRAMES, **made).read_bytes(), np.uint8)
        for name, made in CONTAINERS.items()
    }


def mutants(good: dict[str, Bytes], count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """`count` damaged copies, each with a file name, by containers and kinds of damage in turn."""
    names = list(good)
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        name = names[number % len(names)]
        kind = KINDS[number // len(names) % len(KINDS)]
        stem, _, ending = name.rpartition(".")
        damaged = kind(good[name].copy(), rng)
        yield f"{number:05d}-{kind.__name__}-{stem}.{ending}", damaged.tobytes()


def one_bit(data: Bytes, rng: np.random.Generator) -> Bytes:
    data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return data


def many_bits(data: Bytes, rng: np.random.Generator) -> Bytes:
    for place in rng.integers(len(data), size=int(10 ** rng.uniform(0.5, 3))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def header_bytes(data: Bytes, rng: np.random.Generator) -> Bytes:
    places = rng.integers(min(HEADER, len(data)), size=int(rng.integers(1, 12)))
    data[places] = rng.integers(256, size=len(places))
    return data


def header_extremes(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Numbers of four bytes replaced by the least and the greatest there are."""
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(min(HEADER, len(data) - 4)))
        extreme = rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
        data[place : place + 4] = np.frombuffer(int(extreme).to_bytes(4, "big"), np.uint8)
    return data


def cut_off(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[: int(rng.integers(1, len(data)))]


def beginning_lost(data: Bytes, rng: np.random.Generator) -> Bytes:
    return data[int(rng.integers(1, len(data))) :]


def blanked(data: Bytes, rng: np.random.Generator) -> Bytes:
    start, stop = sorted(rng.integers(len(data), size=2))
    data[start : min(stop, start + 4096)] = rng.choice([0, 255])
    return data


def shifted(data: Bytes, rng: np.random.Generator) -> Bytes:
    """Some bytes left out or put in: every offset behind them is wrong."""
    place, length = int(rng.integers(len(data))), int(rng.integers(1, 600))
    if rng.integers(2):
        return np.delete(data, slice(place, place + length))
    return np.insert(data, place, rng.integers(256, size=length).astype(np.uint8))


def repeated(data: Bytes, rng: np.random.Generator) -> Bytes:
    start, stop = sorted(rng.integers(len(data), size=2))
    return np.concatenate([data[:stop], np.tile(data[start:stop], int(rng.integers(1, 8)))])


KINDS: tuple[Callable[[Bytes, np.random.Generator], Bytes], ...] = (
    one_bit, many_bits, header_bytes, header_extremes, cut_off, beginning_lost, blanked, shifted,
    repeated,
)  # fmt: skip
