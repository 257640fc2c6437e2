"""The embedding store: the embeddings of a frozen image encoder are computed once.

A store is a folder in the cache. Its name is the hash of everything that the embeddings depend on:
the image side of the method, sampling, preprocessing, crops, decoder, precision and kind of device.
They do not depend on datasets, ids, label sets, prompts or text sides. A row belongs to one file,
of one size and modification time; a file that has changed is encoded again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vclip_cli.common.errors import DataError, StorageError
from vclip_cli.common.files import sha256_json, write_json
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.encoding.embedding_files import (
    SUFFIX,
    ShardFile,
    ShardRows,
    check_values,
    read_header,
    read_rows,
    remove_shard,
    write_shard,
)
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, VideoSet
from vclip_cli.models.contract import Adapter
from vclip_cli.video.frame_store import FrameStore

FORMAT = 1
FOLDER = "embeddings"
DESCRIPTION_FILE = "description.json"
LARGEST_VIEW = 256 * 1024
"""Bytes a view that are stored unasked. X-CLIP's, with all patches, would fill a disk."""

log = logging.getLogger("vclip")


@dataclass(frozen=True)
class EmbeddingStore:
    """The embeddings of one key.

    description: what the key is the hash of; stores_all: add embeddings of any size, and fail where
    that fails; read_only: add none.
    """

    description: dict[str, Any]
    stores_all: bool = False
    read_only: bool = False

    @property
    def key(self) -> str:
        """The hash of all that the embeddings depend on."""
        return sha256_json(self.description)

    @property
    def folder(self) -> Path:
        """Where the shards lie."""
        return cache_folder() / FOLDER / self.key[:16]

    def open(self, videos: VideoSet) -> StoredEmbeddings:
        """Look up the videos of a pass. Warns of damaged shards, which it removes."""
        return StoredEmbeddings(self, videos)


def embedding_store(
    encoder: Encoder, reading: VideoReading, *, stores_all: bool = False
) -> EmbeddingStore | None:
    """The store of an encoder's embeddings; None where they may not be stored.

    stores_all: see `EmbeddingStore`.
    """
    adapter = encoder.adapter
    if adapter.cacheable == "none" or reading.sampling.rule == "random":
        return None
    description = {
        "format": FORMAT,
        "kind": adapter.cacheable,
        "video_identity": adapter.video_identity,
        "reading": reading.describe(),
        "precision": encoder.compute.precision,
        "device": encoder.device.type,
    }
    return EmbeddingStore(description, stores_all)


def recorded_store(key: str, adapter: Adapter) -> EmbeddingStore | None:
    """The store of a recorded key, to read from; sampling and precision are the recorded run's.

    None where it is not there, or belongs to another image encoder than the adapter's.
    """
    path = cache_folder() / FOLDER / key[:16] / DESCRIPTION_FILE
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        return None
    store = EmbeddingStore(description, read_only=True)
    same = store.key == key and description.get("video_identity") == adapter.video_identity
    return store if same else None


@dataclass(eq=False)
class StoredEmbeddings:
    """The stored embeddings of the videos of one pass, and those that the pass adds.

    Positions are those of `videos`. reused: how many rows were read.
    """

    store: EmbeddingStore
    videos: VideoSet
    reused: int = 0
    _root: Path = Path()
    _places: dict[int, tuple[ShardFile, int]] = field(default_factory=dict)
    _stamps: list[tuple[int, int]] = field(default_factory=list)
    _checked: set[Path] = field(default_factory=set)
    _positions: list[int] = field(default_factory=list)
    _values: list[np.ndarray] = field(default_factory=list)
    _damage: dict[str, dict[str, int]] = field(default_factory=dict)
    _may_add: bool = True

    def __post_init__(self) -> None:
        """Stat the files, read the headers of all shards, and keep what fits."""
        items, frames = self.videos.videos, self.videos.reading.store
        self._root = self.videos.root.resolve()
        self._stamps = [_stamp(self._root, item, frames) for item in items]
        wanted: dict[tuple[int, int, str], list[int]] = {}
        for position, (item, stamp) in enumerate(zip(items, self._stamps, strict=True)):
            wanted.setdefault((*stamp, _name(item.path, item.video)), []).append(position)
        for path in sorted(self.store.folder.glob(f"*{SUFFIX}")):
            shard = self._header(path)
            if shard is None:
                continue
            rows, root = shard.rows, Path(shard.rows.root)
            columns = zip(rows.sizes, rows.times, rows.paths, rows.videos, strict=True)
            for row, (size, time, file, video) in enumerate(columns):
                for position in wanted.get((size, time, _name(file, video)), ()):
                    item = items[position]
                    if _source(root, file, video) == _source(self._root, item.path, item.video):
                        self._places.setdefault(position, (shard, row))

    def __contains__(self, position: int) -> bool:
        """Whether the embedding of this video is stored, and sound as far as is known."""
        place = self._places.get(position)
        if place is None:
            return False
        if place[0].path not in self._checked:
            self._check(place[0])
        return position in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, positions: Sequence[int]) -> np.ndarray:
        """Stored embeddings float32 (len(positions), V, …). Raises DataError when one has gone."""
        places = [self._places[position] for position in positions]
        rows = [read_rows(shard, [row])[0] for shard, row in places]
        self.reused += len(rows)
        return np.stack(rows)

    def damage(self, positions: Sequence[int]) -> dict[str, dict[str, int]]:
        """Signs of damage met when the stored videos were decoded, by id, of those with any."""
        found = {}
        for position in positions:
            shard, row = self._places[position]
            if shard.rows.damage[row]:
                found[self.videos.videos[position].video] = shard.rows.damage[row]
        return found

    def add(
        self, positions: Sequence[int], values: np.ndarray, damage: dict[str, dict[str, int]]
    ) -> None:
        """Keep embeddings (len(positions), V, …), and damage by id, for the next `flush`."""
        small = values[0, 0].nbytes <= LARGEST_VIEW if len(values) else False
        if self._may_add and not self.store.read_only and (small or self.store.stores_all):
            self._positions += positions
            self._values.append(np.asarray(values, np.float32))
            self._damage |= damage

    @property
    def adds(self) -> bool:
        """Whether the cache could be written so far."""
        return self._may_add

    def flush(self) -> None:
        """Write what was added as one shard. A cache that cannot be written only costs time.

        Raises StorageError where the store must take all embeddings (`stores_all`).
        """
        if not self._positions:
            return
        items = [self.videos.videos[position] for position in self._positions]
        rows = ShardRows(
            dataset=self.videos.dataset,
            root=str(self._root),
            videos=[item.video for item in items],
            paths=[item.path for item in items],
            sizes=[self._stamps[position][0] for position in self._positions],
            times=[self._stamps[position][1] for position in self._positions],
            damage=[self._damage.get(item.video, {}) for item in items],
        )
        try:
            description = self.store.folder / DESCRIPTION_FILE
            if not description.is_file():
                write_json(description, self.store.description)
            write_shard(self.store.folder, rows, np.concatenate(self._values))
        except StorageError as error:
            if self.store.stores_all:
                raise
            self._may_add = False
            log.warning("embeddings are not stored: %s", error)
        self._positions, self._values, self._damage = [], [], {}

    def _header(self, path: Path) -> ShardFile | None:
        try:
            return read_header(path)
        except DataError as error:
            self._drop(path, error)
            return None

    def _check(self, shard: ShardFile) -> None:
        self._checked.add(shard.path)
        try:
            check_values(shard)
        except DataError as error:
            self._drop(shard.path, error)
            self._places = {p: place for p, place in self._places.items() if place[0] != shard}

    def _drop(self, path: Path, error: DataError) -> None:
        log.warning("%s; its videos are computed again", error)
        remove_shard(path)


def _name(path: str, video: str) -> str:
    """The last part of `_source`: most videos differ in it already."""
    return path.rpartition("/")[2] or video


def _source(root: Path, path: str, video: str) -> tuple[Path, str]:
    """What a row belongs to: a file under any id; without a file, an id of the folder."""
    return root / path, "" if path else video


def _stamp(root: Path, item: ListedVideo, frames: FrameStore | None) -> tuple[int, int]:
    """Size and modification time of a video's file; -1 where there is none.

    frames: the frame store that is read, which knows the file that it was made from.
    """
    if frames is not None:
        position = frames.index.position(item.video)
        if position is None:
            return -1, -1
        row = frames.index.rows[position]
        return int(row["source_size"]), int(row["source_mtime"])
    if not item.path:
        return -1, -1
    try:
        found = (root / item.path).stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns
