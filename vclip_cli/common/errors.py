"""The errors that a person can cause or meet, each with its exit code.

Anything that is not one of these is a fault of ours and exits with 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class VclipError(Exception):
    """An expected error: what is wrong, where, what was found, what was expected, what to do."""

    exit_code = 1
    title = "Error"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.found = found
        self.expected = expected
        self.hint = hint

    def __str__(self) -> str:
        """All the parts on one line, for logs and for `pytest.raises(match=...)`."""
        parts = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.found is not None:
            parts.append(f"found {self.found}")
        if self.expected is not None:
            parts.append(f"expected {self.expected}")
        if self.hint is not None:
            parts.append(self.hint)
        return "; ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:  # errors come out of the loader's processes
        return (_rebuild, (type(self), self.what, self.where, self.found, self.expected, self.hint))

    def as_dict(self) -> dict[str, str]:
        """The parts that are known, for `--json`."""
        names = ("what", "where", "found", "expected", "hint")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def _rebuild(
    kind: type[VclipError],
    what: str,
    where: str | None,
    found: str | None,
    expected: str | None,
    hint: str | None,
) -> VclipError:
    return kind(what, where=where, found=found, expected=expected, hint=hint)


class UsageError(VclipError):
    """A wrong option or argument, an unknown name, an output folder that cannot be written."""

    exit_code = 2
    title = "Usage"


class SpecError(VclipError):
    """An invalid protocol, label set or config file."""

    exit_code = 3
    title = "Invalid file"


class DataError(VclipError):
    """Videos, annotations or artefacts that are missing or damaged."""

    exit_code = 4
    title = "Data"


class VideoError(DataError):
    """A single video that cannot be read; a run records it and goes on."""

    title = "Video"


class StorageError(DataError):
    """Writing failed: the disk is full, the folder read-only or gone."""

    title = "Storage"


class WeightsError(VclipError):
    """Weights or checkpoints that are missing, damaged or of the wrong shape."""

    exit_code = 5
    title = "Weights"


class ComparisonRefused(VclipError):
    """A comparison that would mislead: overlapping lists, mixed protocols, foreign label sets."""

    exit_code = 6
    title = "Refused"


def near_misses(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names closest to `name`, best first."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=count, cutoff=0.5)
    return [by_folded[folded] for folded in close]


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that offers the near misses, or names what is known when nothing is near."""
    known = list(known)
    close = near_misses(name, known)
    if close:
        return "did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    if not known:
        return None
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return f"known: {shown}"
