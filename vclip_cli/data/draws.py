"""The draws of training videos: few-shot, and base-to-novel with its halves of the classes."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence

from vclip_cli.common.errors import DataError

_SHOWN = 5


def draw_few_shot(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int, *, nested: bool = False
) -> dict[str, list[str]]:
    """K videos of every class, the classes in the order given.

    The videos of a class are ordered by the SHA-256 of seed, class, K and id, and the first K are
    taken, so that neither the order of rows nor other classes matter. nested: K stays out of the
    hash, and the K-shot draw is the beginning of the 2K-shot one. Raises DataError that names the
    classes with fewer than K videos.
    """
    require_enough(videos_of, shots)
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


def require_enough(videos_of: Mapping[str, Sequence[str]], shots: int) -> None:
    """Raise DataError that names the classes with fewer than `shots` videos."""
    counts = {name: len(set(videos)) for name, videos in videos_of.items()}
    small = [(name, count) for name, count in counts.items() if count < shots]
    if not small:
        return
    shown = ", ".join(f"{name!r} ({count})" for name, count in small[:_SHOWN])
    raise DataError(
        f"{len(small)} of {len(counts)} classes have fewer than {shots} training videos",
        found=shown + (", …" if len(small) > _SHOWN else ""),
        expected=f"at least {shots} a class",
        hint=f"at most --shots {min(counts.values())} fits every class"
        if min(counts.values())
        else "restrict the label set to the classes that have videos",
    )


def halves_by_counts(
    counts: Mapping[str, int], order: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Base and novel classes by the rule of ViFi-CLIP (METHODS section 9).

    Sort ascending by (training videos, index in `order`); novel is the first floor(n/2), base the
    rest. Both stay in that order. Raises DataError for fewer than two classes.
    """
    if len(order) < 2:
        raise DataError("two halves need at least two classes", found=f"{len(order)}")
    ranked = sorted(order, key=lambda name: counts.get(name, 0))
    novel = len(ranked) // 2
    return ranked[novel:], ranked[:novel]


def draw_base(
    videos_of: Mapping[str, Sequence[str]], shots: int, seed: int
) -> dict[str, list[str]]:
    """K training videos of every base class by the published draw (METHODS section 9).

    `random.Random(seed).sample(videos, K)`, with the generator seeded anew for every class, over
    the videos in the order of the official list. Raises DataError that names classes too small.
    """
    require_enough(videos_of, shots)
    return {
        name: random.Random(seed).sample(list(dict.fromkeys(videos)), shots)
        for name, videos in videos_of.items()
    }
