"""Datasets by name: the embedded benchmark, or what a person registered. Loads no torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.resources import cache_folder

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

EMBEDDED = ("toy", "toy-shapes", "toy-multi")


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
    """Whether two dataset names stand for the same files, so that their video ids can be compared:
    one name, `toy` and `toy-shapes`, or two registrations of one folder."""
    if one == other or {one, other} == {"toy", "toy-shapes"}:
        return True
    from vclip_cli.data.dataset import list_datasets

    known = list_datasets()
    if one not in known or other not in known:
        return False
    roots = [open_dataset(name).videos_root for name in (one, other)]
    return roots[0] is not None and roots[0] == roots[1]


def toy_folder(name: str = "toy") -> Path:
    """Where the embedded clips lie in the cache, keyed by what the renderer would draw."""
    if name == "toy-multi":
        from vclip_cli.toy.multi import multi_fingerprint

        return cache_folder() / f"toy-multi-{multi_fingerprint()[:12]}"
    from vclip_cli.toy.world import toy_fingerprint

    return cache_folder() / f"toy-{toy_fingerprint()[:12]}"


def prepare_videos(name: str, videos: Collection[str], *, progress: Progress = no_progress) -> None:
    """Render those of the listed clips that the cache lacks; nothing to do for real datasets."""
    if name not in EMBEDDED:
        return
    from vclip_cli.toy.multi import multi_videos
    from vclip_cli.toy.render import render_multi, render_toy
    from vclip_cli.toy.world import toy_videos

    multi = name == "toy-multi"
    folder, wanted = toy_folder(name), set(videos)
    clips = [
        clip for clip in (multi_videos() if multi else toy_videos()) if clip.video_id in wanted
    ]
    missing = [clip.video_id for clip in clips if not (folder / clip.path).is_file()]
    if missing:
        there = len(clips) - len(missing)
        render = render_multi if multi else render_toy
        with progress("rendering the toy clips", len(clips), there) as advance:
            render(folder, lambda done, total: advance(1), only=missing)
