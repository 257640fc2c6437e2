"""The list of a video's packets, read without decoding: it gives the number of frames.

Frame counts in headers are not used, because they are often wrong or missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from av.packet import Packet

from vclip_cli.video.opening import LIBRARY_ERRORS, OpenVideo, library_errors, open_video

# In these codecs each packet with a shown picture gives exactly one frame.
_ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "vp8", "vp9", "av1"})
_PROGRESSIVE_OR_UNKNOWN = (0, 1)
MOST_BYTES_HELD = 256 * 1024 * 1024


@dataclass(frozen=True)
class PacketList:
    """A video's packets in decoding order.

    pts: presentation time of each, in units of the stream's time base.
    keyframe, shown: whether each starts a group of pictures, and whether it gives a frame.
    failed: how many are cut off or cannot be read.
    held: the packets themselves, None when they are too large to keep.
    """

    pts: list[int | None]
    keyframe: list[bool]
    shown: list[bool]
    failed: int
    held: list[Packet] | None

    @cached_property
    def frame_count(self) -> int:
        """How many frames these packets give if none is damaged."""
        return sum(self.shown)

    @cached_property
    def display_order(self) -> list[int]:
        """Packet number by frame number; every packet must have a pts."""
        times = [time if time is not None else 0 for time in self.pts]
        return sorted((i for i, shown in enumerate(self.shown) if shown), key=times.__getitem__)

    @cached_property
    def _keyframes(self) -> list[int]:
        return [number for number, is_key in enumerate(self.keyframe) if is_key]

    def first_needed(self, number: int) -> int:
        """The packet at which decoding must start to give the picture of packet `number`.

        A picture that is shown before its keyframe (open GOP) refers to the group before.
        """
        place = bisect_right(self._keyframes, number) - 1
        start = self._keyframes[place]
        time, key_time = self.pts[number], self.pts[start]
        if place > 0 and time is not None and key_time is not None and time < key_time:
            return self._keyframes[place - 1]
        return start


def list_packets(video: OpenVideo) -> PacketList:
    """Read all packets of the video stream, without decoding them."""
    codec = video.codec_name
    pts: list[int | None] = []
    keyframe: list[bool] = []
    shown: list[bool] = []
    held: list[Packet] | None = []
    size = failed = 0
    try:
        for packet in video.packets():
            pts.append(packet.pts)
            keyframe.append(packet.is_keyframe)
            shown.append(not packet.is_discard and shows_a_picture(packet, codec))
            failed += packet.is_corrupt
            size += packet.size
            if size > MOST_BYTES_HELD:
                held = None
            if held is not None:
                held.append(packet)
    except LIBRARY_ERRORS:
        failed += 1
    return PacketList(pts, keyframe, shown, failed, held)


def pts_are_reliable(video: OpenVideo, packets: PacketList) -> bool:
    """Whether pts identify the frames, so that decoding can jump from group to group.

    They do not in AVI, which stores none; where a pts is missing or repeated, a packet is damaged,
    the stream starts inside a group of pictures, or a packet may give no frame or half a frame.
    """
    if "avi" in video.container.format.name.split(","):
        return False
    if video.codec_name not in _ONE_FRAME_A_PACKET:
        return False
    if getattr(video.codec, "field_order", 0) not in _PROGRESSIVE_OR_UNKNOWN:
        return False
    times = [time for time in packets.pts if time is not None]
    if packets.failed or not times or len(set(times)) != len(packets.pts):
        return False
    return packets.keyframe[0] and min(times) == times[0]


def packets_again(video: OpenVideo, packets: PacketList) -> Iterator[Packet]:
    """The same packets again: those held in memory, or read from the file a second time."""
    if packets.held is not None:
        yield from packets.held
        return
    with open_video(video.path) as again, library_errors(video.path):
        yield from again.packets()


def shows_a_picture(packet: Packet, codec: str) -> bool:
    """False for the hidden reference pictures that VP8 and VP9 put into packets of their own."""
    if codec not in ("vp8", "vp9"):
        return True
    data = memoryview(packet)
    if codec == "vp8":
        return bool(data[0] & 0x10)
    return _vp9_shows_a_picture(data)


def _vp9_shows_a_picture(data: memoryview) -> bool:
    """Read the uncompressed VP9 header: marker, profile, show_existing_frame, type, show_frame.

    The last frame of a superframe (several frames and an index in one packet) is a shown one.
    """
    if data[-1] & 0xE0 == 0xC0:
        return True
    bits = data[0]
    if (bits >> 4) & 0b11 == 0b11:  # profile 3 has one reserved bit more
        return bool(bits & 0b100) or bool(bits & 0b1)
    return bool(bits & 0b1000) or bool(bits & 0b10)
