"""Readers of annotation formats: one file each, found by file name.

A reader's file holds `TITLE`, `LABEL_SET` (the label set that its class names belong to, None where
the files themselves decide), `detects(path)` and `read(path, label_set)`. A format that fits almost
any folder or list also says `GENERIC = True`. It is recognised only where no other format is.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from vclip_cli.common.errors import DataError, require_known

if TYPE_CHECKING:
    import pandas as pd

    from vclip_cli.data.label_set import LabelSet

COLUMNS = ("video", "file", "class", "splits")


@dataclass(frozen=True)
class Annotations:
    """The result of a reader: one row per video and label, in the order of the official files.

    rows: columns of strings: `video` (the id: for official sets the file name without its ending),
      `file` (the name or relative path that the list states; may lack the ending), `class`
      (official name, or empty for a video without labels), `splits` (names joined by `;`, such as
      `train-1;test-2`).
    label_set: the name of the label set that the class names belong to, None when the list's own
      classes make one.
    remarks: what is unusual but not an error (counts and examples).
    """

    rows: pd.DataFrame
    label_set: str | None
    multi_label: bool = False
    remarks: tuple[str, ...] = ()


class Reader(Protocol):
    """What a reader's module offers."""

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


def reader_name(name: str) -> str:
    """The file name of a format's reader; `list-file` and `list_file` are the same.

    Raises UsageError with the near misses for an unknown name. Imports nothing.
    """
    stem = name.replace("-", "_")
    require_known(stem, list_readers(), f"unknown annotation format {name!r}")
    return stem


def load_reader(name: str) -> Reader:
    """The reader of a format. Raises UsageError as `reader_name` does."""
    return cast(Reader, importlib.import_module(f"{__name__}.{reader_name(name)}"))


def detect_format(path: Path) -> str:
    """The name of the format that a folder or file is in. Raises DataError when none fits."""
    readers = {name: load_reader(name) for name in list_readers()}
    for name in sorted(readers, key=lambda name: getattr(readers[name], "GENERIC", False)):
        if readers[name].detects(path):
            return name
    titles = [f"{name} ({reader.TITLE})" for name, reader in readers.items()]
    raise DataError(
        "no known annotation format",
        where=str(path),
        expected="one of " + "; ".join(titles),
        hint="name it with --format if it is one of these",
    )
