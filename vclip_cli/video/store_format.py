"""The form of a frame store on disk: its settings, the rows of its index, the block of a clip.

    store.json          what holds for all clips (`StoreSettings`)
    index.bin           one row of 64 bytes for each clip, appended; a later row replaces an earlier
    frames-00000.bin …  blocks, one after the other: a head of JSON, then the JPEGs it speaks of

A row is checked by a crc32 of its own, a head by one in its row, and a JPEG by one in its head.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import canonical_json
from vclip_cli.video.clip import Damage
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.kept_frames import KeptFrames

VERSION = 1
SETTINGS_FILE = "store.json"
INDEX_FILE = "index.bin"
RESIZE = "cv2 INTER_LINEAR to the short side, never enlarged"

ROW = np.dtype(
    [
        ("key", "<u8"),
        ("offset", "<u8"),
        ("length", "<u8"),
        ("source_size", "<i8"),
        ("source_mtime", "<i8"),
        ("shard", "<u4"),
        ("head", "<u4"),
        ("head_crc", "<u4"),
        ("frames", "<u4"),
        ("damage", "<u4"),
        ("crc", "<u4"),
    ]
)
"""key: of the video id (`key_of`). offset, length, shard: where the block lies, in bytes.
source_size (bytes), source_mtime (ns): of the video file, -1 where there was none. head, head_crc:
length and checksum of the block's head. frames: how many are kept, 0 for a failure. damage: signs
of a damaged source, all kinds together. crc: of all the rest of the row."""


class StoreSettings(BaseModel):
    """What holds for every clip of a store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: KeptFrames
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    short_side: Annotated[int, Field(ge=16)] = 256
    subsampling: Literal["420", "444"] = "420"
    resize: str = RESIZE
    encoder: str = ""
    decoder: dict[str, str | None]

    def describe(self) -> dict[str, Any]:
        """What identifies the frames, for records and identities: not the set of clips."""
        return {"format": VERSION, **self.model_dump(mode="json")}

    @property
    def versions(self) -> str:
        """What decoded and what compressed the frames, with their versions."""
        return f"{self.decoder.get('library')} {self.decoder.get('version')}, {self.encoder}"

    def of_any_version(self) -> StoreSettings:
        """The same without versions: what a person chose."""
        decoder = {**self.decoder, "version": None}
        return self.model_copy(update={"encoder": "", "decoder": decoder})


def make_settings(
    kept: KeptFrames, *, quality: int = 95, short_side: int = 256, decoder: str = "exact"
) -> StoreSettings:
    """The settings of a store to be made here, with this machine's decoder and encoder."""
    try:
        encoder = f"simplejpeg {version('simplejpeg')}"
    except PackageNotFoundError:  # a source tree of its own
        encoder = "simplejpeg"
    return StoreSettings(
        kept=kept,
        quality=quality,
        short_side=short_side,
        encoder=encoder,
        decoder=describe_decoder(decoder),
    )


@dataclass(frozen=True)
class ClipHead:
    """What a store knows of one clip, without its pixels.

    indices, sizes, crcs: of each JPEG in the order in which they lie: frame number, bytes, crc32.
    failure: why there are no frames, None where there are.
    """

    video: str
    frame_count: int = 0
    height: int = 0
    width: int = 0
    rotation: int | None = 0
    fps: float | None = None
    duration_seconds: float | None = None
    damaged: Damage = field(default_factory=Damage)
    indices: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    crcs: tuple[int, ...] = ()
    failure: str | None = None

    def packed(self) -> bytes:
        """The head's bytes; equal heads give equal bytes."""
        return canonical_json(asdict(self)).encode()

    @classmethod
    def unpacked(cls, data: bytes) -> ClipHead:
        """The inverse of `packed`. Raises ValueError, KeyError or TypeError on anything else."""
        values = json.loads(data)
        values["damaged"] = Damage(**values["damaged"])
        for name in ("indices", "sizes", "crcs"):
            values[name] = tuple(values[name])
        return cls(**values)


def shard_path(folder: Path, number: int) -> Path:
    """Where a shard lies."""
    return folder / f"frames-{number:05d}.bin"


def key_of(video: str) -> int:
    """The index's key of a video id: the first 64 bits of its sha256."""
    return int.from_bytes(sha256(video.encode("utf-8", "surrogateescape")).digest()[:8], "little")


def row_crc(row: bytes) -> int:
    """The checksum of a row's bytes, its last field left out."""
    return zlib.crc32(row[: ROW.itemsize - 4])


def read_rows(path: Path) -> tuple[NDArray[np.void], NDArray[np.bool_], int]:
    """All rows of an index, which of them are sound, and how many bytes follow the last whole one.

    An index that is not there has no rows. Raises OSError.
    """
    data = path.read_bytes() if path.exists() else b""
    count, rest = divmod(len(data), ROW.itemsize)
    rows = np.frombuffer(data, ROW, count)
    view, size = memoryview(data), ROW.itemsize
    crcs = [zlib.crc32(view[start : start + size - 4]) for start in range(0, count * size, size)]
    return rows, rows["crc"] == np.array(crcs, dtype=np.uint32), rest


def read_settings(folder: Path) -> tuple[str, StoreSettings]:
    """The dataset that a store belongs to, and its settings.

    Raises DataError when the folder holds no store, a damaged one, or one of a newer version.
    """
    path = folder / SETTINGS_FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(
            "no frame store here", where=str(folder), hint="make one: vclip extract DATASET"
        ) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, RecursionError):
        raise _damaged(path, "not valid JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("version"), int):
        raise _damaged(path, "no version")
    if value["version"] > VERSION:
        raise DataError(
            "the frame store was written by a newer version of vclip",
            where=str(path),
            found=f"version {value['version']}",
            expected=f"at most {VERSION}",
            hint="upgrade vclip to read it",
        )
    try:
        return str(value["dataset"]), StoreSettings.model_validate(value["settings"])
    except ValidationError as error:
        first = error.errors()[0]
        raise _damaged(path, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except KeyError as error:
        raise _damaged(path, f"no key {error}") from None


def settings_document(dataset: str, settings: StoreSettings) -> dict[str, Any]:
    """What stands in `store.json`."""
    return {"version": VERSION, "dataset": dataset, "settings": settings.model_dump(mode="json")}


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        "the settings of the frame store are damaged",
        where=str(path),
        found=found,
        hint="make the store again: vclip extract DATASET --no-resume",
    )
