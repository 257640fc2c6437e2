"""From a video file to the block of bytes that a frame store keeps of it."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import VideoError
from vclip_cli.video.decoders import decode
from vclip_cli.video.preprocess import shrink_frame
from vclip_cli.video.store_format import StoreSettings, VideoHead


@dataclass(frozen=True)
class SourceFile:
    """Size in bytes and modification time in ns of a video file; -1 where there is none."""

    size: int = -1
    mtime: int = -1

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """The present state of a file."""
        try:
            found = path.stat()
        except (OSError, ValueError):
            return cls()
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class PackedVideo:
    """A video in the form of a store's block. body: its JPEGs, one after the other."""

    head: VideoHead
    body: bytes
    source: SourceFile


def pack_video(video: str, path: Path | None, settings: StoreSettings) -> PackedVideo:
    """Decode the kept frames of a video, shrink them and compress each.

    path: None for a listed video that is not on disk. A video that cannot be decoded gives a block
    without frames that holds the reason.
    """
    if path is None:
        return PackedVideo(VideoHead(video, failure="listed, but not on disk"), b"", SourceFile())
    source = SourceFile.of(path)
    try:
        decoded = decode(
            path,
            settings.kept.indices,
            str(settings.decoder["name"]),
            each=partial(shrink_frame, short_side=settings.short_side),
        )
    except VideoError as error:
        reason = f"{error.what} ({error.found})" if error.found else error.what
        return PackedVideo(VideoHead(video, failure=reason), b"", source)
    jpegs = _compress(decoded.frames, settings)
    head = VideoHead(
        video=video,
        frame_count=decoded.frame_count,
        height=decoded.frames.shape[1],
        width=decoded.frames.shape[2],
        rotation=decoded.rotation,
        fps=decoded.fps,
        duration_seconds=decoded.duration_seconds,
        damaged=decoded.damaged,
        indices=tuple(decoded.indices.tolist()),
        sizes=tuple(len(jpeg) for jpeg in jpegs),
        crcs=tuple(zlib.crc32(jpeg) for jpeg in jpegs),
    )
    return PackedVideo(head, b"".join(jpegs), source)


def _compress(frames: NDArray[np.uint8], settings: StoreSettings) -> list[bytes]:
    """Each frame of (N, H, W, 3) as a JPEG."""
    import simplejpeg

    return [
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(frame),
            quality=settings.quality,
            colorsubsampling=settings.subsampling,
        )
        for frame in frames
    ]
