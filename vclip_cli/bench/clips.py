"""The clips that are measured: of a dataset, a folder or single files, sound ones only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from vclip_cli.common.errors import DataError, UsageError, VclipError
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.data.dataset import list_datasets
from vclip_cli.data.videos_on_disk import scan_videos
from vclip_cli.engine.encoding.model import DEFAULT_BACKBONE
from vclip_cli.engine.loading.datasets import EMBEDDED, open_dataset, prepare_videos
from vclip_cli.engine.loading.videos import Failure, ListedVideo, failure_of
from vclip_cli.video import decode
from vclip_cli.video.sampling import midpoint_indices

DEFAULT_SOURCE = "toy"
Item = TypeVar("Item")


@dataclass(frozen=True)
class Source:
    """Listed clips, paths relative to `root`; `dataset` is None for files and folders."""

    root: Path
    items: list[ListedVideo]
    dataset: str | None = None
    backbone: str = DEFAULT_BACKBONE


def find_source(names: Sequence[str], limit: int, *, progress: Progress = no_progress) -> Source:
    """The clips that a person named: one dataset, or files and folders; `limit` of them.

    Of more than `limit`, those that lie evenly over the list. A dataset goes before a folder of the
    same name, which is meant by `./NAME`. Raises DataError when there is no clip, UsageError for a
    dataset that is not known or named beside others.
    """
    names = list(names) or [DEFAULT_SOURCE]
    if len(names) == 1 and (
        names[0] in {*EMBEDDED, *list_datasets()} or not Path(names[0]).exists()
    ):
        return _of_dataset(names[0], limit, progress)
    paths: list[Path] = []
    for name in names:
        path = Path(name)
        if not path.exists():
            raise UsageError(
                "no such file or folder", found=name, expected="one dataset, or files and folders"
            )
        paths += [path / found for found in scan_videos(path).paths] if path.is_dir() else [path]
    if not paths:
        raise DataError("no video lies in the folder", where=", ".join(names))
    items = [ListedVideo(str(path), str(path.absolute())) for path in _spread(paths, limit)]
    return Source(Path(), items)


def _of_dataset(name: str, limit: int, progress: Progress) -> Source:
    dataset = open_dataset(name)
    rows = dataset.manifest.rows.drop_duplicates("video")
    rows = rows[rows["path"] != ""]
    if dataset.videos_root is None or rows.empty:
        raise DataError(
            "the dataset has no video on disk",
            where=name,
            hint=f"vclip data add {name} --videos DIR",
        )
    pairs = list(zip(rows["video"], rows["path"], strict=True))
    items = [ListedVideo(video, path) for video, path in _spread(pairs, limit)]
    prepare_videos(name, [item.video for item in items], progress=progress)
    backbone = dataset.config.backbone or DEFAULT_BACKBONE
    return Source(dataset.videos_root, items, name, backbone)


def _spread(items: Sequence[Item], limit: int) -> list[Item]:
    if len(items) <= limit:
        return list(items)
    return [items[place] for place in midpoint_indices(len(items), limit)]


def sound_clips(
    source: Source, frames: int, *, progress: Progress = no_progress
) -> tuple[list[ListedVideo], list[Failure]]:
    """Decode each clip once: those that can be measured, and those that cannot, with the reason.

    The files then lie in the page cache, and damage costs nobody time. Raises DataError when no
    clip is sound.
    """
    sound: list[ListedVideo] = []
    left_out: list[Failure] = []
    with progress("looking at the clips", len(source.items)) as advance:
        for item in source.items:
            try:
                clip = decode(source.root / item.path, lambda n: midpoint_indices(n, frames))
            except VclipError as error:
                left_out.append(failure_of(item.video, item.path, error))
            else:
                if clip.damaged:
                    counts = {k: v for k, v in clip.damaged.as_dict().items() if v}
                    signs = ", ".join(f"{name} {count}" for name, count in counts.items())
                    left_out.append(Failure(item.video, item.path, f"damaged: {signs}"))
                else:
                    sound.append(item)
            advance(1)
    if not sound:
        raise DataError(
            "no clip can be measured",
            found=f"{len(left_out)} that cannot be read, such as {left_out[0].video!r}: "
            + left_out[0].reason,
            hint="vclip data check",
        )
    return sound, left_out
