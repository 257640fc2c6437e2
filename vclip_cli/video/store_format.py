"""The form of a frame store on disk: its files, its settings, the head of each video.

    store.json          what holds for all videos (`StoreSettings`)
    index.bin           one row of 64 bytes for each video, appended; a later row replaces an
                        earlier one (`store_index.py`)
    frames-00000.bin …  blocks, one after the other: a head of JSON, then the JPEGs it describes

A row has a crc32 of its own. The crc32 of a head stands in its row, that of a JPEG in its head.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.files import canonical_json, storage_error
from vclip_cli.video.decoded import Damage
from vclip_cli.video.decoders import describe_decoder
from vclip_cli.video.kept_frames import KeptFrames

VERSION = 1
SETTINGS_FILE = "store.json"
INDEX_FILE = "index.bin"
RESIZE = "cv2 INTER_LINEAR to the short side, never enlarged"


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard."""
    return folder / f"frames-{number:05d}.bin"


def store_files(folder: Path) -> list[Path]:
    """The files of a store. Other files, such as a log, may lie beside them."""
    return [folder / SETTINGS_FILE, folder / INDEX_FILE, *folder.glob("frames-*.bin")]


def remove_store(folder: Path) -> None:
    """Delete the files of a store, and nothing else in the folder. Raises StorageError."""
    try:
        for path in store_files(folder):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, folder) from error


class StoreSettings(BaseModel):
    """What holds for every video of a store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kept: KeptFrames
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    short_side: Annotated[int, Field(ge=16)] = 256
    subsampling: Literal["420", "444"] = "420"
    resize: str = RESIZE
    encoder: str = ""
    decoder: dict[str, str | None]

    def describe(self) -> dict[str, Any]:
        """What identifies the frames, for records and identities; without the set of videos."""
        return {"format": VERSION, **self.model_dump(mode="json")}

    @property
    def versions(self) -> str:
        """The libraries that decoded and compressed the frames, with their versions."""
        return f"{self.decoder.get('library')} {self.decoder.get('version')}, {self.encoder}"

    def without_versions(self) -> StoreSettings:
        """What a person chose."""
        decoder = {**self.decoder, "version": None}
        return self.model_copy(update={"encoder": "", "decoder": decoder})


def refuse_other_settings(folder: Path, found: StoreSettings, wanted: StoreSettings) -> None:
    """Raise UsageError, with what differs, unless both are equal apart from versions."""
    if found.without_versions() == wanted.without_versions():
        return
    names = [n for n in StoreSettings.model_fields if getattr(found, n) != getattr(wanted, n)]
    raise UsageError(
        "the folder holds a frame store with other settings",
        where=str(folder),
        found=", ".join(f"{name} {_shown(getattr(found, name))}" for name in names),
        expected=", ".join(f"{name} {_shown(getattr(wanted, name))}" for name in names),
        hint="ask for the same, choose another folder with --out, or replace it with --no-resume",
    )


def refuse_other_versions(folder: Path, found: StoreSettings, here: StoreSettings) -> None:
    """Raise UsageError unless both name the same versions of decoder and encoder.

    All frames of a store come from the same versions.
    """
    if found.versions == here.versions:
        return
    raise UsageError(
        "the frame store was made by other versions of the decoder or the encoder",
        where=str(folder),
        found=found.versions,
        expected=f"{here.versions}, which are installed here",
        hint="it can be read and checked as it is; to add videos install the versions that made it,"
        " choose another folder with --out, or extract all again with --no-resume",
    )


def _shown(value: object) -> str:
    if isinstance(value, KeptFrames):
        return value.options()
    if isinstance(value, dict):
        return " ".join(str(part) for part in value.values() if part)
    return str(value)


def make_settings(
    kept: KeptFrames, *, quality: int = 95, short_side: int = 256, decoder: str = "exact"
) -> StoreSettings:
    """The settings of a new store, with the decoder and encoder that are installed here."""
    try:
        encoder = f"simplejpeg {version('simplejpeg')}"
    except PackageNotFoundError:  # imported from a source tree that is not installed
        encoder = "simplejpeg"
    return StoreSettings(
        kept=kept,
        quality=quality,
        short_side=short_side,
        encoder=encoder,
        decoder=describe_decoder(decoder),
    )


@dataclass(frozen=True)
class VideoHead:
    """What a store holds of one video besides its pixels.

    indices, sizes, crcs: frame number, bytes and crc32 of each JPEG, in the order of the file.
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
    def unpacked(cls, data: bytes) -> VideoHead:
        """The inverse of `packed`. Raises ValueError, KeyError or TypeError on other bytes."""
        values = json.loads(data)
        values["damaged"] = Damage(**values["damaged"])
        for name in ("indices", "sizes", "crcs"):
            values[name] = tuple(values[name])
        return cls(**values)


def settings_document(dataset: str, settings: StoreSettings) -> dict[str, Any]:
    """The content of `store.json`."""
    return {"version": VERSION, "dataset": dataset, "settings": settings.model_dump(mode="json")}


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


def _damaged(path: Path, found: str) -> DataError:
    return DataError(
        "the settings of the frame store are damaged",
        where=str(path),
        found=found,
        hint="make the store again: vclip extract DATASET --no-resume",
    )
