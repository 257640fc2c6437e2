"""What a reader of an official annotation format gives: one row per video and label."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

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
