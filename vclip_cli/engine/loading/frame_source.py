"""Where the frames of a dataset come from: its video files, or a store of extracted frames."""

from __future__ import annotations

from pathlib import Path

from vclip_cli.common.errors import DataError, UsageError, VideoError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.resources import cache_folder
from vclip_cli.video import decode
from vclip_cli.video.decoded import DecodedVideo, Plan
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling

SOURCE = "source"
STORE = "store"


def default_store(dataset: str) -> Path:
    """The folder of a dataset's frame store, where none is named."""
    return cache_folder() / "frames" / dataset


def open_frames(frames_from: str, dataset: str, decoder: str) -> FrameStore | None:
    """The store that `--frames-from` names, None for the video files themselves.

    Raises UsageError when it was made by another decoder than the one asked for, DataError when it
    is not there, damaged, or of another dataset.
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
    """Refuse a store that lacks the frames of a test sampling, before any work. UsageError."""
    if store is None or store.settings.kept.covers(sampling):
        return
    kept = store.settings.kept
    needed = "--frames all"
    if sampling.rule == "uniform":
        needed = kept.with_frames(sampling.frames, sampling.clips).options()
    wanted = f"{sampling.rule} sampling of {sampling.frames} frames"
    raise _lacking(store, f"{wanted}, {sampling.clips} clips", needed)


def require_draws(store: FrameStore | None, frames: int, rule: str) -> None:
    """Refuse a store that lacks what training with this sampling rule draws. UsageError."""
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
    """Refuse a store whose frames were shrunk below what the weights look at. UsageError."""
    short_side = spec.resize_to if spec.resize_mode == "shortest" and crops == 1 else spec.size
    if store is None or store.settings.short_side >= short_side:
        return
    raise UsageError(
        "the frames of the store are smaller than what the weights look at",
        where=str(store.folder),
        found=f"short side {store.settings.short_side}",
        expected=f"at least {short_side}",
        hint=f"vclip extract {store.dataset} {store.settings.kept.options()} --size {short_side}"
        " --no-resume, or --frames-from source",
    )


def require_videos(root: Path) -> None:
    """Look, when a video could not be read, whether the folder of all of them is still there.

    A disk that went away in the middle of a run must not make a failure of every video that was
    still to come. Raises DataError; an empty folder is what an unmounted one looks like.
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
        hint="bring it back and run the same command again: it goes on from where it was",
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

    path: relative to the root, empty where the video is not on disk. Nothing but the store is
    asked where there is one; a file that is there must have the size of the one that was
    extracted. Raises VideoError.
    """
    if store is None:
        if not path:
            raise VideoError("listed, but not on disk")
        return decode(root / path, plan, decoder, allow_single=allow_single)
    extracted = store.source_size(video)
    if path and extracted is not None and _size(root / path) not in (None, extracted):
        raise VideoError(
            "the video has changed since its frames were stored",
            where=str(root / path),
            hint=f"vclip extract {store.dataset}",
        )
    return store.decode(video, plan)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:  # a store may outlive its videos
        return None


def _lacking(store: FrameStore, wanted: str, needed: str) -> UsageError:
    return UsageError(
        "the frame store does not keep the frames that this run looks at",
        where=str(store.folder),
        found=f"kept: {store.settings.kept.options()}",
        expected=wanted,
        hint=f"vclip extract {store.dataset} {needed} --no-resume",
    )
