"""Facts about a video file, for `vclip data check`."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from vclip_cli.video.clip import Damage
from vclip_cli.video.opening import existing_file, open_video
from vclip_cli.video.packets import list_packets
from vclip_cli.video.pictures import quarter_turns
from vclip_cli.video.plan import check_frame_count
from vclip_cli.video.sequential import SequentialDecode


@dataclass(frozen=True)
class ClipFacts:
    """What a video file is.

    frame_count: from the list of packets, or decoded where `probe(full=True)` was asked.
    width, height: of the frames as they are shown, in pixels, after the rotation.
    rotation: the display rotation in degrees counter-clockwise (0, 90, 180, 270).
    damaged: what reading met, or what decoding everything met with `full`.
    """

    frame_count: int
    width: int
    height: int
    rotation: int
    codec: str
    container: str
    fps: float | None
    duration_seconds: float | None
    decoded: bool
    damaged: Damage

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self)


def probe(
    path: str | os.PathLike[str], *, full: bool = False, allow_single: bool = False
) -> ClipFacts:
    """The facts about a video file: quick, by its packets and its first frame, or from all frames.

    Args:
        path: a video file.
        full: decode everything, to have the true frame count and all the damage.
        allow_single: take videos of a single frame as well.

    Raises VideoError, with the reason, when it cannot be read, is no video, holds no video stream,
    no frame, or a single one.
    """
    path = existing_file(path)
    with open_video(path) as source:
        packets = list_packets(source)
    with open_video(path) as source:
        decode = SequentialDecode(source)
        pictures = iter(decode)
        first = next(pictures, None)
        if full:
            deque(pictures, maxlen=0)
        frame_count = decode.frame_count if full else packets.frame_count
        check_frame_count(frame_count if first else 0, path, allow_single)
        assert first is not None
        turns = quarter_turns(first)
        height, width = (first.width, first.height) if turns % 2 else (first.height, first.width)
        return ClipFacts(
            frame_count=frame_count,
            width=width,
            height=height,
            rotation=turns * 90,
            codec=source.codec_name,
            container=source.container.format.name,
            fps=source.fps,
            duration_seconds=source.duration_seconds,
            decoded=full,
            damaged=decode.damage if full else Damage(failed_packets=packets.failed),
        )
