"""Decoding only the groups of pictures that hold a wanted frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vclip_cli.video.opening import LIBRARY_ERRORS, Source
from vclip_cli.video.packets import PacketList, packets_again
from vclip_cli.video.pictures import EachFrame, PictureRows

# Skipping pictures that no other refers to is exact here, gains nothing with VP9 and MPEG-4, and
# gives wrong frames with AV1.
_MAY_SKIP_NONREFERENCE = frozenset({"h264", "hevc"})


class Unforeseen(Exception):
    """The decoder did not give what the list of packets promised."""


def decode_groups(
    source: Source,
    packets: PacketList,
    indices: NDArray[np.int64],
    each: EachFrame | None = None,
) -> PictureRows:
    """The wanted frames, told by their pts; `times_can_be_trusted` must hold.

    Raises Unforeseen when a wanted picture does not come, comes damaged or out of order, or a
    packet cannot be decoded; only a decode from start to end can settle such a file.
    """
    rows = PictureRows(source.path, indices, each)
    order = packets.display_order
    numbers = {order[index] for index in rows.wanted}
    index_at = {packets.pts[order[index]]: index for index in rows.wanted}
    feed = _Feed(source, packets, numbers)
    for first, last in _ranges(packets, numbers):
        latest: int | None = None
        for picture in feed.decode(first, last):
            if picture.pts is None or (latest is not None and picture.pts <= latest):
                raise Unforeseen
            latest = picture.pts
            index = index_at.get(latest)
            if index is None or index not in rows.wanted:
                continue
            if picture.is_corrupt:
                raise Unforeseen
            rows.put(index, picture)
    if rows.wanted:
        raise Unforeseen
    return rows


def _ranges(packets: PacketList, numbers: set[int]) -> list[tuple[int, int]]:
    """First and last packet of each stretch to decode, in order, none touching another."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted((packets.first_needed(number), number) for number in numbers):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], last)
        else:
            ranges.append((first, last))
    return ranges


class _Feed:
    """Feeds the decoder stretches of packets, skipping what is neither wanted nor referred to."""

    def __init__(self, source: Source, packets: PacketList, wanted: set[int]) -> None:
        self._codec = source.codec
        self._packets = packets_again(source, packets)
        self._next = 0
        self._wanted = wanted
        self._may_skip = source.codec_name in _MAY_SKIP_NONREFERENCE

    def decode(self, first: int, last: int) -> Iterator[VideoFrame]:
        """The pictures that the packets first..last give; the decoder is emptied afterwards."""
        stretch = islice(self._packets, first - self._next, last + 1 - self._next)
        self._next = last + 1
        for number, packet in enumerate(stretch, first):
            if self._may_skip:
                self._codec.skip_frame = "DEFAULT" if number in self._wanted else "NONREF"
            yield from self._pictures(packet)
        yield from self._pictures(None)
        self._codec.flush_buffers()

    def _pictures(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._codec.decode(packet)
        except LIBRARY_ERRORS as error:
            raise Unforeseen from error
