"""The draws of training videos: few-shot, and base-to-novel with its halves of the classes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

from vclip_cli.common.errors import DataError, examples


def draw_few_shot(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int, *, nested: bool = False
) -> dict[str, list[str]]:
    """K videos of every class, the classes in the order given.

    The videos of a class are ordered by the SHA-256 of seed, class, K and id, and the first K are
    taken. Neither the order of rows nor other classes matter. nested: K stays out of the hash, so
    that the K-shot draw is the beginning of the 2K-shot one. Raises DataError that names the
    classes with fewer than K videos.
    """
    _require_enough(videos_of, shots)
    return {
        name: _ranked(name, videos, seed, None if nested else shots)[:shots]
        for name, videos in videos_of.items()
    }


def _ranked(name: str, videos: Sequence[str], seed: int, shots: int | None) -> list[str]:
    head = hashlib.sha256(f"few-shot\n{seed}\n{shots or ''}\n{name}\n".encode())

    def rank(video: str) -> bytes:
        state = head.copy()
        state.update(video.encode())
        return state.digest()

    return sorted(set(videos), key=rank)


def draw_base(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int
) -> dict[str, list[str]]:
    """K training videos of every base class by the published draw of ViFi-CLIP.

    `random.Random(seed).sample(videos, K)`, with the generator seeded anew for every class, over
    the videos in the order of the official list (see `docs/methods.md`). Raises DataError that
    names the classes with fewer than K videos.
    """
    _require_enough(videos_of, shots)
    return {
        name: random.Random(seed).sample(list(dict.fromkeys(videos)), shots)
        for name, videos in videos_of.items()
    }


def halves_by_counts(
    counts: Mapping[str, int], order: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Base and novel classes by the rule of ViFi-CLIP (arXiv 2212.03640, base-to-novel setting).

    Sort ascending by (training videos, index in `order`); novel is the first floor(n/2), base the
    rest. Both stay in that order. Raises DataError for fewer than two classes.
    """
    if len(order) < 2:
        raise DataError("two halves need at least two classes", found=f"{len(order)}")
    ranked = sorted(order, key=lambda name: counts.get(name, 0))
    novel = len(ranked) // 2
    return ranked[novel:], ranked[:novel]


def _require_enough(videos_of: Mapping[str, Sequence[str]], shots: int) -> None:
    """Raise DataError that names the classes with fewer than `shots` videos."""
    counts = {name: len(set(videos)) for name, videos in videos_of.items()}
    small = [f"{name!r} ({count})" for name, count in counts.items() if count < shots]
    if not small:
        return
    least = min(counts.values())
    raise DataError(
        f"{len(small)} of {len(counts)} classes have fewer than {shots} training videos",
        found=examples(small, 5),
        expected=f"at least {shots} a class",
        hint=f"at most --shots {least} fits every class"
        if least
        else "restrict the label set to the classes that have videos",
    )
