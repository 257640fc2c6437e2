"""Additional labels of training videos from a CSV `video,label`, one row per label.

A multimodal model may have written them, for example. New names join the training vocabulary; known
ones are added to the video's labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError
from vclip_cli.common.files import sha256_file
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.imported import match_videos
from vclip_cli.data.label_set import NATURAL, ClassEntry, LabelSet, one_line
from vclip_cli.data.video_list import read_video_list


@dataclass(frozen=True)
class ExtraLabels:
    """pairs: (video, class name), each once; new: names that the label set lacks, in file order."""

    sha256: str
    pairs: tuple[tuple[str, str], ...]
    new: tuple[str, ...]

    def extend(self, label_set: LabelSet) -> LabelSet:
        """The label set with the new names at its end."""
        return label_set.extended(ClassEntry(name=name, texts={NATURAL: name}) for name in self.new)


def read_extra_labels(path: Path, dataset: Dataset, classes: Sequence[str]) -> ExtraLabels:
    """Read the file for a dataset and the classes that are trained on.

    Raises UsageError for a single-label dataset, DataError with file and line for a video that the
    dataset lacks or an empty label, ComparisonRefused for a class that is held out from training.
    """
    if not dataset.manifest.multi_label:
        raise UsageError(
            "additional labels are for datasets with several labels per video",
            found=repr(dataset.config.name),
        )
    listed = read_video_list(path)
    known, trained = dataset.label_set, set(classes)
    pairs: dict[tuple[str, str], None] = {}
    new: dict[str, None] = {}
    held_out: dict[str, str] = {}
    for entry, video in zip(listed.entries, match_videos(dataset, listed), strict=True):
        where = f"{path}:{entry.line}"
        if not entry.labels or not entry.labels[0].strip():
            raise DataError("a label is empty", where=where)
        for label in entry.labels:
            name = known.find(label) or _checked(label, where)
            if name not in known.names:
                new[name] = None
            elif name not in trained:
                held_out.setdefault(name, where)
            pairs[video, name] = None
    if held_out:
        name, where = next(iter(held_out.items()))
        raise ComparisonRefused(
            f"{len(held_out)} of the additional labels are classes held out from training",
            where=where,
            found=repr(name),
            hint="leave these rows out: the test on unseen labels would mean nothing",
        )
    return ExtraLabels(sha256_file(path), tuple(pairs), tuple(new))


def _checked(label: str, where: str) -> str:
    try:
        return one_line(label.strip())
    except ValueError as error:
        raise DataError(f"not a label: {error}", where=where, found=repr(label)) from None
