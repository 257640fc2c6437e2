"""The exact reader: the frames that a full sequential decode gives, for less work.

The packets are listed without decoding, which gives the frame count n; then only the groups of
pictures that hold a wanted frame are decoded. Where pts cannot tell frames apart, or anything
unforeseen comes out of the decoder, the file is decoded from start to end and frames are counted.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import VideoError
from vclip_cli.video.clip import Damage, DecodedClip
from vclip_cli.video.groups import Unforeseen, decode_groups
from vclip_cli.video.opening import Source, open_video
from vclip_cli.video.packets import list_packets, times_can_be_trusted
from vclip_cli.video.pictures import EachFrame, PictureRows
from vclip_cli.video.plan import Plan, planned
from vclip_cli.video.sequential import SequentialDecode


def decode_exact(
    path: Path, plan: Plan, *, allow_single: bool = False, each: EachFrame | None = None
) -> DecodedClip:
    """Decode the frames that `plan` chooses. See `vclip_cli.video.reading.decode`."""
    with open_video(path) as source:
        packets = list_packets(source)
        count = packets.frame_count
        if times_can_be_trusted(source, packets):
            indices = planned(plan, count, path, allow_single)
            try:
                rows = decode_groups(source, packets, indices, each)
            except Unforeseen:
                pass
            else:
                return _clip(source, rows, indices, count, Damage())
    return _decode_counting(path, plan, count, allow_single, each)


def _decode_counting(
    path: Path, plan: Plan, expected: int, allow_single: bool, each: EachFrame | None
) -> DecodedClip:
    """Decode from start to end; once more, with the true count, where it was not as expected."""
    for _ in range(2):
        problem: VideoError | None = None
        try:
            indices = planned(plan, expected, path, allow_single)
        except VideoError as error:  # it stands only if the expected count does
            problem, indices = error, np.empty(0, np.int64)
        with open_video(path) as source:
            rows = PictureRows(path, indices, each)
            decode = SequentialDecode(source)
            for index, picture in enumerate(decode):
                if index in rows.wanted:
                    rows.put(index, picture)
            if decode.frame_count == expected:
                if problem is not None:
                    raise problem
                return _clip(source, rows, indices, expected, decode.damage)
        expected = decode.frame_count
    raise VideoError("gave another number of frames when it was decoded again", where=str(path))


def _clip(
    source: Source, rows: PictureRows, indices: NDArray[np.int64], count: int, damage: Damage
) -> DecodedClip:
    return DecodedClip(
        frames=rows.result(),
        indices=indices,
        frame_count=count,
        decoder="exact",
        rotation=rows.rotation,
        fps=source.fps,
        duration_seconds=source.duration_seconds,
        damaged=damage,
    )
