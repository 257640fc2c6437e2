"""What one check of a record found, and the hashes that many records share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_file
from vclip_cli.results.record import Record

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
    detail: str


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(map(repr, names[:SHOWN])) + more


@dataclass(frozen=True, eq=False)
class Subject:
    """A record at `path`, and what has been found of it so far."""

    path: Path
    record: Record
    seen: Seen
    checks: list[Check] = field(default_factory=list)

    def note(self, what: str, status: Status, detail: str) -> None:
        """Add a check."""
        self.checks.append(Check(what, status, detail))

    def note_problems(self, what: str, problems: Sequence[str], otherwise: str) -> None:
        """Add a check that differs by some problems, or matches where there are none."""
        self.note(what, DIFFERS if problems else MATCH, "; ".join(problems) or otherwise)

    def note_hash(self, what: str, found: str, stated: str | None, detail: str = "") -> None:
        """Add whether a sha256 is the one that the record states."""
        if stated is None:
            self.note(what, UNCHECKED, "the record states none")
        elif found == stated:
            self.note(what, MATCH, f"sha256 {found[:12]}…" + (f", {detail}" if detail else ""))
        else:
            text = f"sha256 {found[:12]}…, the record states {stated[:12]}…"
            self.note(what, DIFFERS, f"{text}; {detail}" if detail else text)


@dataclass(frozen=True)
class Seen:
    """What one command has hashed so far; files do not change while it runs."""

    files: dict[Path, str] = field(default_factory=dict)
    backbones: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def file_sha256(self, path: Path) -> str:
        """The sha256 of a file. Raises DataError when it cannot be read."""
        if path not in self.files:
            try:
                self.files[path] = sha256_file(path)
            except OSError as error:
                text = f"cannot be read: {error.strerror or error}"
                raise DataError(text, where=str(path)) from error
        return self.files[path]

    def backbone_sha256(self, name: str, pretrained: str | None) -> str:
        """The content hash of a backbone's weights, which are loaded for it.

        Raises UsageError and WeightsError as `load_backbone` does.
        """
        from vclip_cli.models.backbone import load_backbone

        if (name, pretrained) not in self.backbones:
            self.backbones[name, pretrained] = load_backbone(name, pretrained).weights_sha256
        return self.backbones[name, pretrained]
