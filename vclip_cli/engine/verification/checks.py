"""What one check of a record found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["match", "differs", "not checked"]
MATCH: Status = "match"
DIFFERS: Status = "differs"
UNCHECKED: Status = "not checked"
SHOWN = 3


@dataclass(frozen=True)
class Check:
    """what: the thing that was looked at; detail: what was found, or why nothing could be."""

    what: str
    status: Status
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return asdict(self)


def compare_hashes(what: str, found: str, stated: str | None, detail: str = "") -> Check:
    """Whether a sha256 is the one that the record states."""
    if stated is None:
        return Check(what, UNCHECKED, "the record states none")
    if found == stated:
        return Check(what, MATCH, f"sha256 {found[:12]}…" + (f", {detail}" if detail else ""))
    text = f"sha256 {found[:12]}…, the record states {stated[:12]}…"
    return Check(what, DIFFERS, f"{text}; {detail}" if detail else text)


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more
