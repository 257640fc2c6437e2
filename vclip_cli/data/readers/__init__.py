"""Readers of annotation formats: one file each, found by file name.

A reader's file holds `TITLE`, `LABEL_SET` (the label set that its class names belong to, None where
the files themselves decide), `detects(path)` and `read(path, label_set)`. A format that fits almost
any folder or list also says `GENERIC = True`, and is recognised only where no other format is.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from vclip_cli.common.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

if TYPE_CHECKING:
    from vclip_cli.data.label_set import LabelSet


COLUMNS = ("video", "file", "class", "splits")


@dataclass(frozen=True)
class Annotations:
    """Rows of strings, in the order of the official files.

    rows: columns `video` (the id: for official sets the file name without its ending), `file` (the
      name or relative path that the list states; may lack the ending), `class` (official name, or
      empty for a video without labels), `splits` (names joined by `;`, such as `train-1;test-2`).
      A video with several labels has one row per label.
    label_set: the name of the label set that the class names belong to, None when the list's own
      classes make one.
    remarks: what is odd but no error (counts and examples), to be shown and carried along.
    """

    rows: pd.DataFrame
    label_set: str | None
    multi_label: bool = False
    remarks: tuple[str, ...] = field(default=())


class Reader(Protocol):
    """What a reader's module offers."""

    __name__: str
    TITLE: str
    LABEL_SET: str | None

    def detects(self, path: Path, /) -> bool:
        """Whether a folder or file looks like this format, by names and first lines alone."""

    def read(self, path: Path, /, label_set: LabelSet | None = None) -> Annotations:
        """The annotations of a folder or file. Raises DataError with `FILE:LINE`."""


def list_readers() -> dict[str, Path]:
    """Every format: name to file, sorted by name. Imports nothing."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return {path.stem: path for path in files if not path.stem.startswith("_")}


def load_reader(name: str) -> Reader:
    """The reader of a format; `list-file` and `list_file` are the same.

    Raises UsageError with the near misses for an unknown name.
    """
    known = list_readers()
    stem = name.replace("-", "_")
    if stem not in known:
        hint = did_you_mean(stem, known)
        raise UsageError(f"unknown annotation format {name!r}", hint=hint)
    return cast(Reader, importlib.import_module(f"{__name__}.{stem}"))


def detect_reader(path: Path) -> str | None:
    """The name of the format that a folder or file is in, None when no reader knows it."""
    readers = {name: load_reader(name) for name in list_readers()}
    ordered = sorted(readers, key=lambda name: getattr(readers[name], "GENERIC", False))
    return next((name for name in ordered if readers[name].detects(path)), None)


def detect_format(path: Path) -> str:
    """The name of the format that a folder or file is in. Raises DataError when none fits."""
    found = detect_reader(path)
    if found is None:
        titles = [f"{name} ({load_reader(name).TITLE})" for name in list_readers()]
        raise DataError(
            "no known annotation format",
            where=str(path),
            expected="one of " + "; ".join(titles),
            hint="name it with --format if it is one of these",
        )
    return found
