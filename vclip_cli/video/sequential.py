"""Decoding a whole video from start to end: the truth that every shortcut is measured by."""

from __future__ import annotations

from collections.abc import Iterator

from av.packet import Packet
from av.video.frame import VideoFrame

from vclip_cli.video.clip import Damage
from vclip_cli.video.opening import LIBRARY_ERRORS, Source


class SequentialDecode:
    """Iterates over all pictures of a freshly opened video, counting them and the damage met."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._corrupt = 0
        self._failed = 0
        self.frame_count = 0

    @property
    def damage(self) -> Damage:
        """What was met so far."""
        return Damage(corrupt_frames=self._corrupt, failed_packets=self._failed)

    def __iter__(self) -> Iterator[VideoFrame]:
        for packet in self._packets():
            try:
                pictures = self._source.codec.decode(packet)
            except LIBRARY_ERRORS:
                self._failed += 1
                continue
            self._failed += packet is not None and packet.is_corrupt
            for picture in pictures:
                self.frame_count += 1
                self._corrupt += picture.is_corrupt
                yield picture

    def _packets(self) -> Iterator[Packet | None]:
        """The packets that hold something, and None at the end, which empties the decoder."""
        packets = self._source.container.demux(self._source.stream)
        while True:
            try:
                packet = next(packets, None)
            except LIBRARY_ERRORS:
                self._failed += 1
                break
            if packet is None:
                break
            if packet.size:
                yield packet
        yield None
