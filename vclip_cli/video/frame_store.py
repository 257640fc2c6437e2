"""Reading a frame store: the frames of videos as JPEGs that were extracted once.

Shapes: N frames asked for, H W pixels as they are kept (`StoreSettings.short_side`).
"""

from __future__ import annotations

import os
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError, VideoError
from vclip_cli.video.decoded import DecodedVideo, Plan, planned
from vclip_cli.video.sampling import Indices
from vclip_cli.video.store_format import StoreSettings, VideoHead, read_settings, shard_path
from vclip_cli.video.store_index import StoreIndex, load_index
from vclip_cli.video.store_packing import PackedVideo, SourceFile


class FrameStore:
    """The frames of many videos in a few large files.

    It can be pickled: the other process opens the files again at its first read.
    """

    def __init__(self, folder: Path, dataset: str, settings: StoreSettings) -> None:
        self.folder = folder
        self.dataset = dataset
        self.settings = settings
        self._shards: dict[int, BinaryIO] = {}

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> FrameStore:
        """The store in a folder. Raises DataError when it is missing, damaged or too new."""
        store = cls(Path(folder), *read_settings(Path(folder)))
        _ = store.index
        return store

    def __reduce__(self) -> tuple[Any, ...]:
        return FrameStore, (self.folder, self.dataset, self.settings)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; the next read opens them again."""
        for stream in self._shards.values():
            stream.close()
        self._shards.clear()

    @cached_property
    def index(self) -> StoreIndex:
        """Where each video lies, read when first needed."""
        return load_index(self.folder)

    def __contains__(self, video: str) -> bool:
        """Whether frames of this video are kept. They are not where it could not be decoded."""
        position = self.index.position(video)
        return position is not None and bool(self.index.rows[position]["frames"])

    def describe(self) -> dict[str, Any]:
        """What identifies the frames, for records and identities; without the set of videos."""
        return self.settings.describe()

    def source_size(self, video: str) -> int | None:
        """Size in bytes of the file that a video was extracted from, None for an unknown video."""
        position = self.index.position(video)
        return None if position is None else int(self.index.rows[position]["source_size"])

    def decode(self, video: str, plan: Plan) -> DecodedVideo:
        """The kept frames of a video that a plan chooses, each decoded once.

        plan: as for `vclip_cli.video.decode`. `frame_count`, `fps`, `damaged` and the like are
        those of the source. Raises VideoError when the video is not in the store, could not be
        decoded, lacks a wanted frame, or is damaged.
        """
        position = self._position(video)
        head = self.head(position, video)
        if head.failure is not None:
            raise VideoError(head.failure, where=f"{self.folder}: {video}")
        where = self.folder / video
        indices = planned(plan, head.frame_count, where, allow_single=True)
        return DecodedVideo(
            frames=self._frames(position, head, indices),
            indices=indices,
            frame_count=head.frame_count,
            decoder=str(self.settings.decoder["name"]),
            rotation=head.rotation,
            fps=head.fps,
            duration_seconds=head.duration_seconds,
            damaged=head.damaged,
        )

    def _position(self, video: str) -> int:
        position = self.index.position(video)
        if position is None:
            raise VideoError(
                "not in the frame store",
                where=f"{self.folder}: {video}",
                hint=f"vclip extract {self.dataset}",
            )
        return position

    def head(self, position: int, video: str | None = None) -> VideoHead:
        """What the store holds of the video of a row. Raises VideoError when it is damaged."""
        row = self.index.rows[position]
        data = self._read(position, 0, int(row["head"]))
        try:
            if zlib.crc32(data) != row["head_crc"]:
                raise ValueError
            head = VideoHead.unpacked(data)
        except (ValueError, TypeError, KeyError):
            raise self._damaged(position, video or f"row {position}") from None
        if (video is not None and head.video != video) or len(head.indices) != row["frames"]:
            raise DataError(
                "the index of the frame store does not belong to its files",
                where=str(shard_path(self.folder, int(row["shard"]))),
                found=repr(head.video),
                expected=repr(video),
                hint=f"make the store again: vclip extract {self.dataset} --no-resume",
            )
        return head

    def packed(self, video: str) -> PackedVideo:
        """A video as the store holds it, to be added to another store.

        Raises VideoError when it is not in the store or its head is damaged.
        """
        position = self._position(video)
        row = self.index.rows[position]
        head, skip = self.head(position, video), int(row["head"])
        body = self._read(position, skip, int(row["length"]) - skip)
        return PackedVideo(
            head, body, SourceFile(int(row["source_size"]), int(row["source_mtime"]))
        )

    def check(self, position: int) -> str | None:
        """What is wrong with the video of a row, None where every byte is sound and decodes."""
        try:
            head = self.head(position)
            if head.failure is None:
                self._frames(position, head, np.array(head.indices, dtype=np.int64))
        except DataError as error:
            return error.what
        return None

    def _frames(self, position: int, head: VideoHead, indices: Indices) -> NDArray[np.uint8]:
        """Frames (N, H, W, 3), read as one stretch of bytes."""
        import simplejpeg

        place = {index: number for number, index in enumerate(head.indices)}
        wanted = indices.tolist()
        if missing := sorted({index for index in wanted if index not in place}):
            raise self._not_kept(head, indices, missing)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(wanted):
            rows.setdefault(place[index], []).append(row)
        first, last = min(rows), max(rows)
        ends = np.cumsum(head.sizes)
        start = int(ends[first]) - head.sizes[first]
        skip = int(self.index.rows[position]["head"]) + start
        data = memoryview(self._read(position, skip, int(ends[last]) - start))
        frames = np.empty((len(wanted), head.height, head.width, 3), np.uint8)
        for number, own in rows.items():
            end = int(ends[number]) - start
            jpeg = data[end - head.sizes[number] : end]
            if zlib.crc32(jpeg) != head.crcs[number]:
                raise self._damaged(position, head.video)
            try:
                simplejpeg.decode_jpeg(jpeg, buffer=frames[own[0]])
            except ValueError:
                raise self._damaged(position, head.video) from None
            for row in own[1:]:  # one by one: frames[[]] = … would copy the frame for nothing
                frames[row] = frames[own[0]]
        return frames

    def _read(self, position: int, skip: int, length: int) -> bytes:
        """A stretch of a video's block. Raises VideoError when the shard does not hold it."""
        row = self.index.rows[position]
        number = int(row["shard"])
        path = shard_path(self.folder, number)
        try:
            if number not in self._shards:
                self._shards[number] = path.open("rb", buffering=0)
            data = _read_at(self._shards[number], length, int(row["offset"]) + skip)
        except OSError as error:
            raise VideoError(
                f"the frame store cannot be read: {error.strerror}", where=str(path)
            ) from error
        if len(data) < length:
            raise VideoError("the frame store is cut off", where=str(path), hint=self._repair)
        return data

    @property
    def _repair(self) -> str:
        return f"vclip extract {self.dataset} --verify"

    def _damaged(self, position: int, video: str) -> VideoError:
        path = shard_path(self.folder, int(self.index.rows[position]["shard"]))
        return VideoError(
            "its frames in the frame store are damaged",
            where=f"{path}: {video}",
            hint=self._repair,
        )

    def _not_kept(self, head: VideoHead, wanted: Indices, missing: list[int]) -> VideoError:
        kept = self.settings.kept
        needed = kept.that_would_keep(wanted, head.frame_count)
        return VideoError(
            "the frame store does not keep the wanted frames",
            where=f"{self.folder}: {head.video}",
            found=f"{len(missing)} not kept, such as frame {missing[0]} of {head.frame_count}",
            expected=kept.options(),
            hint=f"vclip extract {self.dataset} {needed.options()} --no-resume",
        )


def _read_at(stream: BinaryIO, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):  # not on Windows
        return os.pread(stream.fileno(), length, offset)
    stream.seek(offset)
    return stream.read(length)
