"""The exact reader: the frames that a full sequential decode gives, for less work.

The packets are listed without decoding, which gives the frame count n. Then only the groups of
pictures that hold a wanted frame are decoded, and frames are identified by their pts. Where pts
are unreliable, or the decoder returns anything unexpected, the file is decoded from start to end
and frames are counted.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vclip_cli.common.errors import VideoError
from vclip_cli.video.decoded import (
    Damage,
    DecodedVideo,
    EachFrame,
    Plan,
    check_frame_count,
    existing_file,
    planned,
)
from vclip_cli.video.opening import LIBRARY_ERRORS, OpenVideo, open_video
from vclip_cli.video.packets import PacketList, list_packets, packets_again, pts_are_reliable
from vclip_cli.video.pictures import PictureRows

# Skipping pictures that no other picture refers to is exact for these codecs. It gains nothing
# with VP9 and MPEG-4, and gives wrong frames with AV1.
_MAY_SKIP_NONREFERENCE = frozenset({"h264", "hevc"})


class UnexpectedPicture(Exception):
    """The decoder did not return what the list of packets promised."""


def decode_exact(
    path: Path, plan: Plan, *, allow_single: bool = False, each: EachFrame | None = None
) -> DecodedVideo:
    """Decode the frames that `plan` chooses. See `vclip_cli.video.decode`."""
    with open_video(path) as video:
        packets = list_packets(video)
        count = packets.frame_count
        if pts_are_reliable(video, packets):
            indices = planned(plan, count, path, allow_single)
            try:
                rows = _decode_groups(video, packets, indices, each)
            except UnexpectedPicture:
                pass
            else:
                return _decoded(video, rows, indices, count, Damage())
    return _decode_all(path, plan, count, allow_single, each)


def _decoded(
    video: OpenVideo, rows: PictureRows, indices: NDArray[np.int64], count: int, damage: Damage
) -> DecodedVideo:
    return DecodedVideo(
        frames=rows.result(),
        indices=indices,
        frame_count=count,
        decoder="exact",
        rotation=rows.rotation,
        fps=video.fps,
        duration_seconds=video.duration_seconds,
        damaged=damage,
    )


def _decode_all(
    path: Path, plan: Plan, expected: int, allow_single: bool, each: EachFrame | None
) -> DecodedVideo:
    """Decode from start to end; a second time where there were not `expected` frames."""
    for _ in range(2):
        problem: VideoError | None = None
        try:
            indices = planned(plan, expected, path, allow_single)
        except VideoError as error:  # raised only if the expected count is the true one
            problem, indices = error, np.empty(0, np.int64)
        with open_video(path) as video:
            rows = PictureRows(path, indices, each)
            decode = SequentialDecode(video)
            for index, picture in enumerate(decode):
                if index in rows.missing:
                    rows.put(index, picture)
            if decode.frame_count == expected:
                if problem is not None:
                    raise problem
                return _decoded(video, rows, indices, expected, decode.damage)
        expected = decode.frame_count
    raise VideoError("gave another number of frames when it was decoded again", where=str(path))


def require_decodable(path: str | os.PathLike[str], *, full: bool = False) -> None:
    """Raise VideoError, with the reason, unless a file is a video of two frames or more.

    full: decode all frames, not only the first.
    """
    path = existing_file(path)
    with open_video(path) as video:
        listed = list_packets(video).frame_count
    with open_video(path) as video:
        decode = SequentialDecode(video)
        pictures = iter(decode)
        first = next(pictures, None)
        if full:
            deque(pictures, maxlen=0)
    count = decode.frame_count if full else listed
    check_frame_count(0 if first is None else count, path, allow_single=False)


class SequentialDecode:
    """Iterates over all pictures of a freshly opened video; counts them and the damage."""

    def __init__(self, video: OpenVideo) -> None:
        self._video = video
        self._corrupt = 0
        self._failed = 0
        self.frame_count = 0

    @property
    def damage(self) -> Damage:
        """The damage found so far."""
        return Damage(corrupt_frames=self._corrupt, failed_packets=self._failed)

    def __iter__(self) -> Iterator[VideoFrame]:
        try:
            for packet in self._video.packets():
                yield from self._pictures(packet)
        except LIBRARY_ERRORS:
            self._failed += 1
        yield from self._pictures(None)

    def _pictures(self, packet: Packet | None) -> Iterator[VideoFrame]:
        """The pictures that a packet gives; None empties the decoder."""
        try:
            pictures = self._video.codec.decode(packet)
        except LIBRARY_ERRORS:
            self._failed += 1
            return
        self._failed += packet is not None and packet.is_corrupt
        for picture in pictures:
            self.frame_count += 1
            self._corrupt += picture.is_corrupt
            yield picture


def _decode_groups(
    video: OpenVideo, packets: PacketList, indices: NDArray[np.int64], each: EachFrame | None
) -> PictureRows:
    """The wanted frames by their pts, which must be reliable.

    Raises UnexpectedPicture when a wanted picture is missing, damaged or out of order, or a packet
    cannot be decoded. Such a file needs a decode from start to end.
    """
    rows = PictureRows(video.path, indices, each)
    order = packets.display_order
    numbers = {order[index] for index in rows.missing}
    index_at = {packets.pts[order[index]]: index for index in rows.missing}
    feed = _Feed(video, packets, numbers)
    for first, last in _ranges(packets, numbers):
        latest: int | None = None
        for picture in feed.decode(first, last):
            if picture.pts is None or (latest is not None and picture.pts <= latest):
                raise UnexpectedPicture
            latest = picture.pts
            index = index_at.get(latest)
            if index is None or index not in rows.missing:
                continue
            if picture.is_corrupt:
                raise UnexpectedPicture
            rows.put(index, picture)
    if rows.missing:
        raise UnexpectedPicture
    return rows


def _ranges(packets: PacketList, numbers: set[int]) -> list[tuple[int, int]]:
    """First and last packet of each stretch to decode, in order; stretches do not touch."""
    ranges: list[tuple[int, int]] = []
    for first, last in sorted((packets.first_needed(number), number) for number in numbers):
        if ranges and first <= ranges[-1][1] + 1:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], last)
        else:
            ranges.append((first, last))
    return ranges


class _Feed:
    """Feeds stretches of packets to the decoder; skips pictures that nothing needs."""

    def __init__(self, video: OpenVideo, packets: PacketList, wanted: set[int]) -> None:
        self._codec = video.codec
        self._packets = packets_again(video, packets)
        self._next = 0
        self._wanted = wanted
        self._may_skip = video.codec_name in _MAY_SKIP_NONREFERENCE

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
            raise UnexpectedPicture from error
