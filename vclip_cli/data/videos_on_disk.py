"""Finding listed videos under a folder, in whatever layout a person keeps them.

Names are compared as plain strings and never used as patterns: real ones hold `[ ] # & ( ! ; =`
and may begin with `-`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vclip_cli.common.errors import DataError, examples
from vclip_cli.data.label_set import fold

VIDEO_ENDINGS = frozenset(
    {
        ".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv",
        ".ts", ".webm", ".wmv",
    }
)  # fmt: skip
_timed = re.compile(r"(?s)(.+)_\d{6}_\d{6}").fullmatch


def without_ending(name: str) -> str:
    """A path or name without its video ending; any other dot stays."""
    stem, dot, ending = name.rpartition(".")
    return stem if stem and (dot + ending).lower() in VIDEO_ENDINGS else name


def video_stem(path: str) -> str:
    """The file name of a path with forward slashes, without folders and video ending."""
    return without_ending(path.rpartition("/")[2])


def without_times(stem: str) -> str:
    """A Kinetics video's name without its start and end times; other names unchanged."""
    match = _timed(stem)
    return match.group(1) if match else stem


@dataclass(frozen=True)
class VideosOnDisk:
    """The video files under a root.

    paths: relative, with forward slashes, sorted.
    folders: every folder that was searched, relative (`.` is the root), with its modification time
      in nanoseconds. Unchanged times mean that no file was added or removed.
    unusable: names, spelled out, that no list can hold: with line breaks, or with bytes that are
      not text.
    """

    paths: tuple[str, ...]
    folders: dict[str, int]
    unusable: tuple[str, ...] = ()

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.paths)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return self._grouped(str)

    @cached_property
    def _by_untimed_stem(self) -> dict[str, list[str]]:
        """Files whose names carry times, by the name without them."""
        return self._grouped(lambda stem: match.group(1) if (match := _timed(stem)) else None)

    @cached_property
    def _by_folded_stem(self) -> dict[str, list[str]]:
        return self._grouped(str.casefold)

    def _grouped(self, key: Callable[[str], str | None]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self.paths:
            if (name := key(video_stem(path))) is not None:
                found.setdefault(name, []).append(path)
        return found

    def candidates(self, file: str) -> tuple[int, Sequence[str]]:
        """A rank, and the paths that may be a listed file. Lower ranks are better matches.

        0: the same path; 1: the same name and folders, in another place or with another ending;
        2: the same name; 3: the same name except for the times of a Kinetics video, or for case.
        """
        if file in self._known:
            return 0, (file,)
        stem = video_stem(file)
        if found := self._by_stem.get(stem):
            if "/" not in file:
                return 1, found
            wanted = "/" + without_ending(file)
            same_folders = [path for path in found if f"/{without_ending(path)}".endswith(wanted)]
            return (1, same_folders) if same_folders else (2, found)
        untimed = without_times(stem)
        index = self._by_untimed_stem if untimed == stem else self._by_stem
        return 3, index.get(untimed, []) or self._by_folded_stem.get(stem.casefold(), [])


@dataclass(frozen=True)
class Located:
    """Where listed videos are.

    paths: video id to path, only for those found.
    absent: the ids of the others, in the order listed.
    unlisted: the paths that belong to no listed video, sorted.
    remarks: videos with several files, files that fit several videos, unusable names.
    """

    paths: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def scan_videos(root: Path) -> VideosOnDisk:
    """Every video file under a root, by its ending; links to folders are followed once.

    Links may lead out of the root, as folders of links are usual on clusters. Lists may not: see
    `inside`. Raises DataError when the root is not a folder or one of its folders cannot be read.
    """
    if not root.is_dir():
        raise DataError("the folder of videos does not exist", where=str(root))
    paths: list[str] = []
    unusable: list[str] = []
    folders: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    pending = [""]
    while pending:
        relative = pending.pop()
        folder = root / relative
        try:
            facts = folder.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            folders[relative or "."] = facts.st_mtime_ns
            with os.scandir(folder) as entries:
                for entry in entries:
                    path = f"{relative}/{entry.name}" if relative else entry.name
                    if not _is_text(entry.name):
                        unusable.append(ascii(path))
                    elif os.path.splitext(entry.name)[1].lower() in VIDEO_ENDINGS:  # noqa: PTH122
                        paths.append(path)
                    elif entry.is_dir():
                        pending.append(path)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(folder)) from error
    return VideosOnDisk(
        tuple(sorted(paths)), dict(sorted(folders.items())), tuple(sorted(unusable))
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python gives bytes that are not UTF-8 as lone surrogates
        return False
    return "\n" not in name and "\r" not in name


def folders_unchanged(root: Path, folders: dict[str, int]) -> bool:
    """Whether every folder of an earlier scan still has its modification time."""
    try:
        return bool(folders) and all(
            (root / folder).stat().st_mtime_ns == time for folder, time in folders.items()
        )
    except OSError:
        return False


def locate(listed: Sequence[tuple[str, str, str]], disk: VideosOnDisk) -> Located:
    """Match listed (video id, stated file, class) to the files of a root.

    A file goes to the video that it matches best. Where it matches several equally well, it goes to
    none of them, and a remark says so.
    """
    claims: dict[str, list[tuple[int, str]]] = {}
    several: list[str] = []
    for video, file, class_name in listed:
        rank, found = disk.candidates(file or video)
        if not found:
            continue
        path = found[0]
        if len(found) > 1:
            path = _in_class_folder(found, class_name)
            several.append(video)
        claims.setdefault(path, []).append((rank, video))
    paths: dict[str, str] = {}
    contested: list[str] = []
    for path, claimants in claims.items():
        best = min(rank for rank, _ in claimants)
        winners = [video for rank, video in claimants if rank == best]
        if len(winners) == 1:
            paths[winners[0]] = path
        else:
            contested.append(path)
    remarks = []
    if several:
        remarks.append(f"{_count(several, 'listed video')} with several files; one was taken")
    if contested:
        remarks.append(f"{_count(contested, 'file')} that several listed videos fit; none has it")
    if disk.unusable:
        remarks.append(
            f"{len(disk.unusable):,} files or folders were left out, as their names hold line"
            f" breaks or bytes that are no text (such as {disk.unusable[0][:100]})"
        )
    absent = tuple(video for video, _, _ in listed if video not in paths)
    unlisted = tuple(path for path in disk.paths if path not in claims)
    return Located(paths, absent, unlisted, tuple(remarks))


def _in_class_folder(paths: Sequence[str], class_name: str) -> str:
    wanted = fold(class_name)
    folders = ((path, map(fold, path.split("/")[:-1])) for path in paths)
    return next((path for path, names in folders if wanted in names), paths[0])


def _count(names: Sequence[str], noun: str) -> str:
    return f"{len(names):,} {noun}{'s' if len(names) != 1 else ''} ({examples(names)})"
