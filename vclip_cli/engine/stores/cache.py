"""The entries of the cache: listing them, what made them, and clearing. Loads no torch.

Only files that this package writes are listed and deleted. All others stay.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import DataError, StorageError, UsageError, did_you_mean
from vclip_cli.common.files import read_note
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.encoding.embedding_files import SUFFIX, read_header

KINDS = ("embeddings", "frames", "report", "toy")
_OWN = {
    "embeddings": re.compile(
        r"description\.json|[0-9a-f]{24}\.safetensors|done-\d+-of-\d+\.json|\..*\.part"
    ),
    "frames": re.compile(
        r"store\.json|index\.bin|frames-\d+\.bin|lock|lock-owner\.json|log.*\.jsonl|\..*\.part"
    ),
    "report": re.compile(r"\d{8}\.safetensors|\..*\.part"),
    "toy": re.compile(r".*\.(mp4|avi|webm)|\..*\.part"),
}
"""The names of the files of each kind. No other file is ever deleted."""


@dataclass(frozen=True)
class CacheEntry:
    """One folder of the cache.

    key: its name, which clears it; datasets: of its videos; items: how many videos it holds;
    made_by: what made it, in words.
    """

    kind: str
    key: str
    folder: Path
    datasets: tuple[str, ...]
    items: int
    size: int
    made_by: str

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {**asdict(self), "folder": str(self.folder), "datasets": list(self.datasets)}


def _folders(kind: str) -> Iterator[Path]:
    root = cache_folder()
    for folder in root.glob("toy-*" if kind == "toy" else f"{kind}/*"):
        links = folder.is_symlink() or (folder.parent.is_symlink() and folder.parent != root)
        own = kind != "toy" or re.fullmatch(r"toy-(multi-)?[0-9a-f]{12}", folder.name)
        if folder.is_dir() and not links and own:
            yield folder


def _describe(kind: str, folder: Path) -> CacheEntry:
    files = list(_files(kind, folder))
    size = sum(_size(path) for path in files)
    if kind == "embeddings":
        datasets, items = _embedded(files)
        made_by = _embeddings_made_by(read_note(folder / "description.json"))
    elif kind == "frames":
        facts = read_note(folder / "store.json")
        datasets = (str(facts.get("dataset", folder.name)),)
        items, made_by = _size(folder / "index.bin") // 64, f"vclip extract {datasets[0]}"
    elif kind == "report":
        datasets, items, made_by = (), len(files), "vclip report"
    else:
        videos = [path for path in files if not path.name.endswith(".part")]
        datasets = ("toy-multi",) if "multi" in folder.name else ("toy", "toy-shapes")
        items, made_by = len(videos), "the embedded benchmark"
    return CacheEntry(kind, folder.name, folder, datasets, items, size, made_by)


def _embedded(files: Sequence[Path]) -> tuple[tuple[str, ...], int]:
    """The datasets of some shards, and how many videos they hold."""
    datasets, items = set(), 0
    for path in files:
        if path.suffix == SUFFIX:
            with contextlib.suppress(DataError):  # of a damaged shard only the size is shown
                shard = read_header(path)
                datasets |= {shard.rows.dataset} - {""}
                items += len(shard.rows.videos)
    return tuple(sorted(datasets)), items


def _embeddings_made_by(facts: dict[str, Any]) -> str:
    side, sampling = facts.get("video_identity", {}), facts.get("reading", {}).get("sampling", {})
    if not side or not sampling:
        return "unknown: its description is missing or damaged"
    method = side.get("method", "frozen CLIP")
    return (
        f"{method} on {side.get('backbone')} ({str(side.get('weights_sha256'))[:12]}), "
        f"{sampling.get('frames')} frames x {sampling.get('clips')} clips, "
        f"{facts.get('precision')}, {facts.get('device')}"
    )


def choose(
    *,
    kinds: Collection[str] = (),
    keys: Collection[str] = (),
    datasets: Collection[str] = (),
) -> list[CacheEntry]:
    """The entries that have one of these kinds, one of these names and one of these datasets.

    The start of a name is enough. Without kinds, names or datasets, all entries are chosen. They
    are sorted by kind and name. Raises UsageError for a kind, name or dataset that is not there.
    """
    entries = [_describe(kind, folder) for kind in KINDS for folder in sorted(_folders(kind))]
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"unknown kind {kind!r}", hint=did_you_mean(kind, KINDS))
    for key in keys:
        if not key or not any(entry.key.startswith(key) for entry in entries):
            known = [entry.key for entry in entries]
            raise UsageError(
                f"nothing in the cache is called {key!r}", hint=did_you_mean(key, known)
            )
    present = {name for entry in entries for name in entry.datasets}
    for name in datasets:
        if name not in present:
            raise UsageError(
                f"the cache holds nothing of the dataset {name!r}", hint=did_you_mean(name, present)
            )
    return [
        entry
        for entry in entries
        if (not kinds or entry.kind in kinds)
        and (not keys or any(entry.key.startswith(key) for key in keys))
        and (not datasets or set(datasets) & set(entry.datasets))
    ]


def clear(entry: CacheEntry, datasets: Collection[str] = ()) -> int:
    """Delete an entry, or only the shards of some datasets; gives the bytes that became free.

    Files that are not the package's own stay, and so does the folder around them. Raises
    StorageError where something cannot be deleted.
    """
    freed = 0
    for path in list(_files(entry.kind, entry.folder)):
        if (
            entry.kind == "embeddings"
            and datasets
            and not set(datasets) & set(_embedded([path])[0])
        ):
            continue
        size = _size(path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"cannot delete: {error.strerror}", where=str(path)) from error
        freed += size
    remaining = [path for path in _files(entry.kind, entry.folder) if path.suffix == SUFFIX]
    if not remaining:
        with contextlib.suppress(OSError):
            (entry.folder / "description.json").unlink(missing_ok=True)
        below = [p for p in entry.folder.rglob("*") if p.is_dir() and not p.is_symlink()]
        for folder in [*sorted(below, reverse=True), entry.folder]:
            with contextlib.suppress(OSError):  # other files may lie there as well
                folder.rmdir()
    return freed


def _files(kind: str, folder: Path) -> Iterator[Path]:
    """The package's own files of an entry; links are not followed."""
    for path in sorted(folder.rglob("*") if kind == "toy" else folder.glob("*")):
        if path.is_file() and not path.is_symlink() and _OWN[kind].fullmatch(path.name):
            yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
