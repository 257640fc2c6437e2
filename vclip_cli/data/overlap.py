"""The overlap guard: a test list that shares videos with the training list measures memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from vclip_cli.common.errors import ComparisonRefused
from vclip_cli.data.split import SharedVideos, Split

_SHOWN = 3


def check_overlap(
    training: Collection[str], tests: Mapping[str, Iterable[str]], *, allowed: bool = False
) -> list[SharedVideos]:
    """Compare the ids of a training list with those of test lists, by the name of each.

    Raises ComparisonRefused with counts and examples unless `allowed`; then the overlaps are
    returned, for the record.
    """
    known = set(training)
    overlaps: list[SharedVideos] = []
    examples: list[str] = []
    for name, videos in tests.items():
        listed = list(dict.fromkeys(videos))
        shared = [video for video in listed if video in known]
        if shared:
            found = SharedVideos(test=name, shared=len(shared), of=len(listed), training=len(known))
            overlaps.append(found)
            examples.extend(shared[:_SHOWN])
    if overlaps and not allowed:
        raise ComparisonRefused(
            "; ".join(describe_overlap(overlap) for overlap in overlaps),
            found=", ".join(examples[:_SHOWN]) + ", …",
            expected="no shared video",
            hint="test on the split that belongs to the training list, or say --allow-overlap and"
            " have the result marked",
        )
    return overlaps


def describe_overlap(overlap: SharedVideos) -> str:
    """One line with the counts."""
    return (
        f"{overlap.shared:,} of {overlap.training:,} training videos are also among the"
        f" {overlap.of:,} test videos of {overlap.test}"
    )


def marked(split: Split, overlaps: list[SharedVideos]) -> Split:
    """The split with allowed overlaps written into its provenance."""
    if not overlaps:
        return split
    return Split(split.rows, split.provenance.model_copy(update={"overlaps_allowed": overlaps}))
