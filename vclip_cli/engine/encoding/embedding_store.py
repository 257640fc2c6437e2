"""The embedding store: the embeddings of a frozen image encoder are computed once.

A store is a folder in the cache. Its name is the hash of everything that the embeddings depend on:
the image side of the method, sampling, preprocessing, crops, decoder, precision and kind of device.
They do not depend on datasets, ids, label sets, prompts or text sides. A row belongs to one file,
of one size and modification time; a file that has changed is encoded again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vclip_cli.common.errors import DataError, StorageError
from vclip_cli.common.files import read_note, sha256_json, write_json
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.encoding.embedding_files import (
    SUFFIX,
    ShardFile,
    ShardRows,
    check_values,
    read_header,
    read_rows,
    write_shard,
)
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.loading.videos import VideoReading, VideoSet
from vclip_cli.models.contract import Adapter
from vclip_cli.video.store_packing import SourceFile

FORMAT = 1
FOLDER = "embeddings"
DESCRIPTION_FILE = "description.json"
LARGEST_VIEW = 256 * 1024
"""Bytes of the largest view that is stored by default. X-CLIP's, with all patches, fill a disk."""

log = logging.getLogger("vclip")


@dataclass(frozen=True)
class EmbeddingStore:
    """The embeddings of one key.

    description: the facts that the key hashes; stores_all: store embeddings of any size, and raise
    if that fails; read_only: store none.
    """

    description: dict[str, Any]
    stores_all: bool = False
    read_only: bool = False

    @property
    def key(self) -> str:
        """The hash of everything that the embeddings depend on."""
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
    """The store of a record's key, read-only; sampling and precision are those of that run.

    None if there is no such store, or if it belongs to another image encoder than the adapter's.
    """
    description = read_note(cache_folder() / FOLDER / key[:16] / DESCRIPTION_FILE)
    if description.get("format") != FORMAT:
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
    _places: dict[int, tuple[ShardFile, int]] = field(default_factory=dict)
    _stamps: list[SourceFile] = field(default_factory=list)
    _checked: set[Path] = field(default_factory=set)
    _added: dict[int, np.ndarray] = field(default_factory=dict)
    _damage: dict[str, dict[str, int]] = field(default_factory=dict)
    _may_add: bool = True

    def __post_init__(self) -> None:
        """Stat the files, read the headers of all shards, and keep what fits."""
        root = self.videos.root.resolve()
        self._stamps = [self.videos.stamp(item) for item in self.videos.videos]
        wanted: dict[tuple[Path, str, int, int], list[int]] = {}
        for position, item in enumerate(self.videos.videos):
            stamp = self._stamps[position]
            source = (*_source(root, item.path, item.video), stamp.size, stamp.mtime)
            wanted.setdefault(source, []).append(position)
        for path in sorted(self.store.folder.glob(f"*{SUFFIX}")):
            try:
                shard = read_header(path)
            except DataError as error:
                self._drop(path, error)
                continue
            rows, folder = shard.rows, Path(shard.rows.root)
            columns = zip(rows.paths, rows.videos, rows.sizes, rows.times, strict=True)
            for row, (file, video, size, time) in enumerate(columns):
                for position in wanted.get((*_source(folder, file, video), size, time), ()):
                    self._places.setdefault(position, (shard, row))

    def __contains__(self, position: int) -> bool:
        """Whether the embedding of this video is stored and not known to be damaged."""
        if position not in self._places:
            return False
        shard, _ = self._places[position]
        if shard.path not in self._checked:
            self._checked.add(shard.path)
            try:
                check_values(shard)
            except DataError as error:
                self._drop(shard.path, error)
                self._places = {p: place for p, place in self._places.items() if place[0] != shard}
        return position in self._places

    def __len__(self) -> int:
        return len(self._places)

    def read(self, positions: Sequence[int]) -> np.ndarray:
        """Stored embeddings float32 (len(positions), V, …). Raises DataError when one has gone."""
        rows = [read_rows(*self._places[position]) for position in positions]
        self.reused += len(rows)
        return np.stack(rows)

    def damage(self, positions: Sequence[int]) -> dict[str, dict[str, int]]:
        """Damage found when these videos were decoded, by video id; sound videos are left out."""
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
        small = len(values) and values[0, 0].nbytes <= LARGEST_VIEW
        if self._may_add and not self.store.read_only and (small or self.store.stores_all):
            self._added.update(zip(positions, values, strict=True))
            self._damage |= damage

    def flush(self) -> None:
        """Write the added rows as one shard. If the cache cannot be written, only time is lost.

        Raises StorageError only for a store that must take all embeddings (`stores_all`).
        """
        if not self._added:
            return
        items = [self.videos.videos[position] for position in self._added]
        stamps = [self._stamps[position] for position in self._added]
        rows = ShardRows(
            dataset=self.videos.dataset,
            root=str(self.videos.root.resolve()),
            videos=[item.video for item in items],
            paths=[item.path for item in items],
            sizes=[stamp.size for stamp in stamps],
            times=[stamp.mtime for stamp in stamps],
            damage=[self._damage.get(item.video, {}) for item in items],
        )
        try:
            description = self.store.folder / DESCRIPTION_FILE
            if not description.is_file():
                write_json(description, self.store.description)
            write_shard(self.store.folder, rows, np.stack(list(self._added.values())))
        except StorageError as error:
            if self.store.stores_all:
                raise
            self._may_add = False
            log.warning("embeddings are not stored: %s", error)
        self._added, self._damage = {}, {}

    def _drop(self, path: Path, error: DataError) -> None:
        log.warning("%s; its videos are computed again", error)
        with contextlib.suppress(OSError):  # the cache may be read-only
            path.unlink()


def _source(root: Path, path: str, video: str) -> tuple[Path, str]:
    """The key of a row: its file, whatever the video id; without a file, folder and video id."""
    return root / path, "" if path else video
