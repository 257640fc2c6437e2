"""Datasets by name, and where their frames come from: video files, or a frame store."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from vclip_cli.common.errors import DataError, UsageError, VideoError, did_you_mean
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.specs import SOURCE
from vclip_cli.toy import EMBEDDED
from vclip_cli.video import decode
from vclip_cli.video.decoded import DecodedVideo, Plan
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling
from vclip_cli.video.store_packing import SourceFile

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset


def open_dataset(name: str | None) -> Dataset:
    """A dataset by name. Raises UsageError without a name, and for an unknown one."""
    from vclip_cli.data.dataset import list_datasets, load_dataset

    if name is None:
        raise UsageError(
            "no dataset was named", hint="--dataset NAME; see: vclip data list, or try toy"
        )
    if name in EMBEDDED:
        from vclip_cli.toy.dataset import toy_dataset

        return toy_dataset(name, toy_folder(name))
    known = list_datasets()
    if name not in known:
        hint = did_you_mean(name, [*known, *EMBEDDED])
        raise UsageError(
            f"unknown dataset {name!r}",
            hint=f"{hint} Register one with: vclip data add {name} --videos DIR",
        )
    return load_dataset(name)


def same_videos(one: str, other: str) -> bool:
    """Whether two names stand for the same files, so that their video ids can be compared.

    They do when they are equal, for `toy` and `toy-shapes`, and when both name one folder.
    """
    if one == other or {one, other} == {"toy", "toy-shapes"}:
        return True
    from vclip_cli.data.dataset import list_datasets

    known = list_datasets()
    if one not in known or other not in known:
        return False
    roots = [open_dataset(name).videos_root for name in (one, other)]
    return roots[0] is not None and roots[0] == roots[1]


def toy_folder(name: str = "toy") -> Path:
    """The cache folder of the embedded videos; its name is the hash of what is drawn."""
    from vclip_cli.toy.multi import multi_fingerprint
    from vclip_cli.toy.world import toy_fingerprint

    if name == "toy-multi":
        return cache_folder() / f"toy-multi-{multi_fingerprint()[:12]}"
    return cache_folder() / f"toy-{toy_fingerprint()[:12]}"


def prepare_videos(name: str, videos: Collection[str], *, progress: Progress = no_progress) -> None:
    """Render the listed toy videos that the cache lacks; real datasets need nothing."""
    if name not in EMBEDDED:
        return
    from vclip_cli.toy.multi import multi_videos
    from vclip_cli.toy.render import render_multi, render_toy
    from vclip_cli.toy.world import toy_videos

    multi = name == "toy-multi"
    folder, wanted = toy_folder(name), set(videos)
    every = multi_videos() if multi else toy_videos()
    listed = [video for video in every if video.video_id in wanted]
    missing = [video.video_id for video in listed if not (folder / video.path).is_file()]
    if missing:
        there = len(listed) - len(missing)
        render = render_multi if multi else render_toy
        with progress("rendering the toy videos", len(listed), there) as advance:
            render(folder, lambda done, total: advance(1), only=missing)


STORE = "store"


def default_store(dataset: str) -> Path:
    """The folder of a dataset's frame store, where none is named."""
    return cache_folder() / "frames" / dataset


def open_frames(frames_from: str, dataset: str, decoder: str) -> FrameStore | None:
    """The store that `--frames-from` names, None for the video files themselves.

    Raises UsageError if another decoder than the requested one made the store, DataError if the
    store is missing, damaged, or of another dataset.
    """
    if frames_from == SOURCE:
        return None
    folder = default_store(dataset) if frames_from == STORE else Path(frames_from)
    if frames_from != STORE and not folder.is_dir():
        raise UsageError(
            f"no frame store lies in {frames_from!r}",
            expected="source, store, or the folder of a store",
            hint=f"make one: vclip extract {dataset} --out FOLDER",
        )
    store = FrameStore.open(folder)
    if store.dataset != dataset:
        raise DataError(
            "the frame store belongs to another dataset",
            where=str(folder),
            found=store.dataset,
            expected=dataset,
        )
    if store.settings.decoder["name"] != decoder:
        raise UsageError(
            "the frame store was made by another decoder",
            where=str(folder),
            found=str(store.settings.decoder["name"]),
            expected=decoder,
            hint=f"--decoder {store.settings.decoder['name']}",
        )
    return store


def require_kept(store: FrameStore | None, sampling: Sampling) -> None:
    """Refuse a store that lacks the frames of a test sampling. Raises UsageError."""
    if store is None or store.settings.kept.covers(sampling):
        return
    kept = store.settings.kept
    needed = "--frames all"
    if sampling.rule == "uniform":
        needed = kept.with_frames(sampling.frames, sampling.clips).options()
    wanted = f"{sampling.rule} sampling of {sampling.frames} frames"
    raise _lacking(store, f"{wanted}, {sampling.clips} clips", needed)


def require_draws(store: FrameStore | None, frames: int, rule: str) -> None:
    """Refuse a store that lacks frames that training may draw. Raises UsageError."""
    if store is None or store.settings.kept.every:
        return
    kept = store.settings.kept
    if rule == "uniform":
        require_kept(store, Sampling(frames))
    elif rule != "random":
        raise _lacking(store, f"{rule} draws of {frames} frames", "--frames all")
    elif not kept.covers_draws(frames):
        needed = kept.with_frames(frames, jitter=kept.jitter or 4).options()
        raise _lacking(store, f"random draws from {frames} segments", needed)


def require_large_enough(store: FrameStore | None, spec: Preprocessing, crops: int) -> None:
    """Refuse a store whose frames are smaller than the model's input. Raises UsageError."""
    short_side = spec.resize_to if spec.resize_mode == "shortest" and crops == 1 else spec.size
    if store is None or store.settings.short_side >= short_side:
        return
    raise UsageError(
        "the frames of the store are smaller than the model's input",
        where=str(store.folder),
        found=f"short side {store.settings.short_side}",
        expected=f"at least {short_side}",
        hint=f"vclip extract {store.dataset} {store.settings.kept.options()} --size {short_side}"
        " --no-resume, or --frames-from source",
    )


def require_videos(root: Path) -> None:
    """Check after a failed read that the folder of videos still exists.

    Without this, a disk that is unmounted during a run would turn every later video into a failure.
    Raises DataError; the folder of an unmounted disk is empty.
    """
    try:
        if any(root.iterdir()):
            return
        found = "an empty folder"
    except OSError as error:
        found = error.strerror or str(error)
    raise DataError(
        "the folder of the videos has gone",
        where=str(root),
        found=found,
        hint="bring it back and run the same command again: it continues where it was",
    )


def decode_listed(
    root: Path,
    video: str,
    path: str,
    plan: Plan,
    *,
    decoder: str = "exact",
    store: FrameStore | None = None,
    allow_single: bool = False,
) -> DecodedVideo:
    """The wanted frames of a listed video, from its file below `root` or from the store.

    path: relative to the root, empty where the video is not on disk. With a store, frames come from
    it only; if the file is on disk too, its size must be that at extraction. Raises VideoError.
    """
    if store is None:
        if not path:
            raise VideoError("listed, but not on disk")
        return decode(root / path, plan, decoder, allow_single=allow_single)
    extracted = store.source_size(video)
    # The videos may have been deleted after they were extracted: then the size is -1.
    if path and extracted is not None and SourceFile.of(root / path).size not in (-1, extracted):
        raise VideoError(
            "the video has changed since its frames were stored",
            where=str(root / path),
            hint=f"vclip extract {store.dataset}",
        )
    return store.decode(video, plan)


def _lacking(store: FrameStore, wanted: str, needed: str) -> UsageError:
    return UsageError(
        "the frame store does not keep the frames that this run reads",
        where=str(store.folder),
        found=f"kept: {store.settings.kept.options()}",
        expected=wanted,
        hint=f"vclip extract {store.dataset} {needed} --no-resume",
    )
