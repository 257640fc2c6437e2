"""The videos that are measured: of a dataset, a folder or single files, only sound ones."""

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
from vclip_cli.engine.loading.datasets import EMBEDDED, default_store, open_dataset, prepare_videos
from vclip_cli.engine.loading.videos import ListedVideo, failed_video
from vclip_cli.engine.runs.parts import FailedVideo
from vclip_cli.video import decode
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling, midpoint_indices

DEFAULT_SOURCE = "toy"
Item = TypeVar("Item")


@dataclass(frozen=True)
class VideoSource:
    """Listed videos, with paths relative to `root`; dataset: None for files and folders."""

    root: Path
    videos: list[ListedVideo]
    dataset: str | None = None
    backbone: str = DEFAULT_BACKBONE


def find_source(
    names: Sequence[str], limit: int, *, progress: Progress = no_progress
) -> VideoSource:
    """The videos that were named: one dataset, or files and folders.

    Of more than `limit` videos, `limit` are taken, spread evenly over the list. A name that is both
    a dataset and a folder means the dataset; `./NAME` means the folder. Raises DataError when there
    is no video, UsageError for an unknown dataset or one that is named beside others.
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
        raise DataError("the folder holds no video", where=", ".join(names))
    videos = [ListedVideo(str(path), str(path.absolute())) for path in _spread(paths, limit)]
    return VideoSource(Path(), videos)


def _of_dataset(name: str, limit: int, progress: Progress) -> VideoSource:
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
    videos = [ListedVideo(video, path) for video, path in _spread(pairs, limit)]
    prepare_videos(name, [video.video for video in videos], progress=progress)
    backbone = dataset.config.backbone or DEFAULT_BACKBONE
    return VideoSource(dataset.videos_root, videos, name, backbone)


def _spread(items: Sequence[Item], limit: int) -> list[Item]:
    if len(items) <= limit:
        return list(items)
    return [items[place] for place in midpoint_indices(len(items), limit)]


def sound_videos(
    source: VideoSource, frames: int, *, progress: Progress = no_progress
) -> tuple[list[ListedVideo], list[FailedVideo]]:
    """Decode each video once: those that can be measured, and those that cannot, with the reason.

    The files are then in the page cache. Damaged videos are left out, because decoders differ in
    the time that they spend on damage. Raises DataError when no video is sound.
    """
    sound: list[ListedVideo] = []
    left_out: list[FailedVideo] = []
    with progress("checking the videos", len(source.videos)) as advance:
        for video in source.videos:
            try:
                decoded = decode(source.root / video.path, lambda n: midpoint_indices(n, frames))
            except VclipError as error:
                left_out.append(failed_video(video.video, video.path, error))
            else:
                if decoded.damaged:
                    counts = decoded.damaged.as_dict().items()
                    signs = ", ".join(f"{name} {count}" for name, count in counts if count)
                    left_out.append(FailedVideo(video.video, video.path, f"damaged: {signs}"))
                else:
                    sound.append(video)
            advance(1)
    if not sound:
        raise DataError(
            "no video can be measured",
            found=f"{len(left_out)} that cannot be read, such as {left_out[0].video!r}: "
            + left_out[0].reason,
            hint="vclip data check",
        )
    return sound, left_out


def find_store(
    named: Path | None, source: VideoSource, sampling: Sampling, videos: Sequence[ListedVideo]
) -> FrameStore | None:
    """The named store, or the dataset's own if it keeps these videos and frames.

    Raises DataError when a named store does not keep them.
    """
    folder = named
    if folder is None:
        if source.dataset is None or not default_store(source.dataset).is_dir():
            return None
        folder = default_store(source.dataset)
    store = FrameStore.open(folder)
    kept = store.settings.kept
    missing = [video.video for video in videos if video.video not in store]
    if not missing and kept.covers(sampling):
        return store
    if named is None:
        return None
    raise DataError(
        "the frame store does not keep the frames to measure",
        where=str(folder),
        found=kept.options() + (f", without {missing[0]!r}" if missing else ""),
        expected=f"{sampling.frames} frames of every video",
        hint=f"vclip extract {store.dataset} --frames {sampling.frames}",
    )
