"""The names that people give to the parts of a dataset, and ours for them."""

from __future__ import annotations

import re

EVERYTHING = ("all", "full")
"""Both stand for every listed video."""

_KINDS = ("train", "validation", "test", "unused")
_OURS = {
    "train": "train", "training": "train", "trn": "train",
    "val": "validation", "valid": "validation", "validate": "validation",
    "validation": "validation", "dev": "validation",
    "test": "test", "testing": "test", "tst": "test",
    "all": "all", "full": "all",
}  # fmt: skip
_FILLERS = re.compile(r"(?i)(videos?|list|files?|split|set|labels?|annotations?)")
_WORDS = re.compile(r"[^a-z]+")


def split_order(name: str) -> tuple[str, int, str]:
    """A sort key: by number (`train-1`), training before validation before test."""
    kind, _, number = name.partition("-")
    return number, _KINDS.index(kind) if kind in _KINDS else len(_KINDS), kind


def split_name(text: str) -> str | None:
    """Our name for a folder or list named like `train`, `videos_val`, `testlist`; else None."""
    words = [word for word in _WORDS.split(_FILLERS.sub(" ", text).lower()) if word]
    return _OURS.get(words[0]) if len(words) == 1 else None
