"""The expected errors, each with its exit code.

Any other exception is a fault of vclip itself and exits with 1.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Self

_PARTS = ("what", "where", "found", "expected", "hint")
_MOST_PROBLEMS = 50


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

    def __reduce__(self) -> tuple[Any, ...]:
        """Keeps all the parts when a worker process sends the error to its parent."""
        return type(self), (self.what,), vars(self)

    def at(self, where: str) -> Self:
        """The same error with another place, such as the line of the list that led to it."""
        moved = copy.copy(self)
        moved.where = where
        return moved

    def as_dict(self) -> dict[str, Any]:
        """The parts that are known, for `--json`."""
        return {name: value for name in _PARTS if (value := getattr(self, name)) is not None}


class UsageError(VclipError):
    """A wrong option or argument, an unknown name, an output folder that cannot be written."""

    exit_code = 2
    title = "Usage"


class SpecError(VclipError):
    """An invalid protocol, label set or config file.

    problems: all the problems of the file where it has several. The error's own parts are those of
      the first one.
    """

    exit_code = 3
    title = "Invalid file"
    problems: tuple[SpecError, ...] = ()

    @classmethod
    def of(cls, problems: Sequence[SpecError]) -> SpecError:
        """One error for the problems of a file; `problems` has at least one."""
        first = problems[0]
        if len(problems) == 1:
            return first
        error = copy.copy(first)
        error.problems = tuple(problems[:_MOST_PROBLEMS])
        if (more := len(problems) - _MOST_PROBLEMS) > 0:
            error.problems += (cls(f"and {more:,} more problems"),)
        return error

    def __str__(self) -> str:
        """The parts of each problem, with ` | ` between the problems."""
        if not self.problems:
            return super().__str__()
        return " | ".join(str(problem) for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """The parts that are known, and those of every problem where there are several."""
        parts = super().as_dict()
        if self.problems:
            parts["problems"] = [problem.as_dict() for problem in self.problems]
        return parts


class DataError(VclipError):
    """Videos, annotations or artefacts that are missing or damaged."""

    exit_code = 4
    title = "Data"


class VideoError(DataError):
    """A single video that cannot be read; a run records it and goes on."""

    title = "Video"


class StorageError(DataError):
    """Writing failed: the disk is full, the folder is read-only or does not exist any more."""

    title = "Storage"


class WeightsError(VclipError):
    """Weights or checkpoints that are missing, damaged or of the wrong shape."""

    exit_code = 5
    title = "Weights"


class ComparisonRefused(VclipError):
    """A misleading comparison: overlapping lists, mixed protocols, another label set."""

    exit_code = 6
    title = "Refused"


def examples(names: Sequence[str], count: int = 3) -> str:
    """The first `count` names with commas between, and `…` where there are more."""
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def near_misses(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names closest to `name`, best first."""
    by_folded: dict[str, str] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), candidate)
    close = difflib.get_close_matches(name.casefold(), list(by_folded), n=count, cutoff=0.5)
    return [by_folded[folded] for folded in close]


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that offers the near misses, or lists the known names when none is near."""
    known = list(known)
    close = near_misses(name, known)
    if close:
        return "did you mean " + " or ".join(repr(candidate) for candidate in close) + "?"
    return f"known: {examples(known, 12)}" if known else None


def require_known(name: str, known: Collection[str], what: str) -> None:
    """Raise UsageError with `what` and the near misses when the name is not among the known."""
    if name not in known:
        raise UsageError(what, hint=did_you_mean(name, known))
