"""Additional labels of training videos from a plain CSV `video,label`, one row a label.

For example what a multimodal model wrote for each clip. New names join the training vocabulary;
known ones are further labels of the video.
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
    """pairs: (video, class name), each once; new: names that the label set lacks, as they came."""

    sha256: str
    pairs: tuple[tuple[str, str], ...]
    new: tuple[str, ...]

    def extend(self, label_set: LabelSet) -> LabelSet:
        """The label set with the new names at its end."""
        added = [ClassEntry(name=name, texts={NATURAL: name}) for name in self.new]
        return LabelSet(
            name=label_set.name,
            title=label_set.title,
            version=label_set.version,
            source=label_set.source,
            classes=[*label_set.classes, *added],
            subsets=label_set.subsets,
        )


def read_extra_labels(path: Path, dataset: Dataset, classes: Sequence[str]) -> ExtraLabels:
    """Read the file for a dataset and the classes that are trained on.

    Raises UsageError for a single-label dataset, DataError with file and line for a video that the
    dataset lacks or an empty label, ComparisonRefused for a label that training must not know.
    """
    if not dataset.manifest.multi_label:
        raise UsageError(
            "additional labels are for datasets with several labels a video",
            found=repr(dataset.config.name),
        )
    listed = read_video_list(path)
    videos = match_videos(dataset, listed)
    known, trained = dataset.label_set, set(classes)
    pairs: dict[tuple[str, str], None] = {}
    new: dict[str, None] = {}
    hidden: dict[str, str] = {}
    for entry, video in zip(listed.entries, videos, strict=True):
        where = f"{path}:{entry.line}"
        if not entry.labels or not entry.labels[0].strip():
            raise DataError("a label is empty", where=where)
        for label in entry.labels:
            name = _resolved(label, known) or _checked(label, where)
            if name not in known.names:
                new[name] = None
            elif name not in trained:
                hidden.setdefault(name, where)
            pairs[video, name] = None
    if hidden:
        name, where = next(iter(hidden.items()))
        raise ComparisonRefused(
            f"{len(hidden)} of the additional labels are among those that training must not know",
            where=where,
            found=repr(name),
            hint="leave these rows out: the test on unseen labels would mean nothing",
        )
    return ExtraLabels(sha256_file(path), tuple(pairs), tuple(new))


def _resolved(label: str, label_set: LabelSet) -> str | None:
    try:
        return label_set.resolve(label)
    except DataError:
        return None


def _checked(label: str, where: str) -> str:
    try:
        return one_line(label.strip())
    except ValueError as error:
        raise DataError(f"not a label: {error}", where=where, found=repr(label)) from None
