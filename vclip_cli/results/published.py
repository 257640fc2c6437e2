"""Published figures (`published.yaml`), and their block below ours in a table.

Each figure has its source and setting; the block says how each row's setting differs from ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vclip_cli.common.yaml_files import ErrorAt, load_model
from vclip_cli.results.grouping import unnumbered
from vclip_cli.results.layout import Place, TableLayout, listed, views_text
from vclip_cli.results.metric import Closed
from vclip_cli.results.result_table import Cell, Footnotes, TableRow

PUBLISHED_FILE = Path(__file__).with_name("published.yaml")
HARMONIC_PART = "harmonic_mean"
TITLE = "Published figures, not ranked with ours"
RANKED_TITLE = "Published figures, ranked together with ours"
NOTHING_FITS = "no published figure is known for these columns"
_UNKNOWN = "–"


class Paper(Closed):
    """seed: whether the package implements the paper's method."""

    title: str
    year: int
    venue: str | None = None
    arxiv: str | None = None
    seed: bool = False


class Figure(Closed):
    """One printed number, in %.

    split: without the number of a repeat; part: `base`, `novel`, `harmonic_mean`, or another part;
    tests: the test sets that the number averages, None if not stated; std_source: the source of the
    deviation, if it is not that of the value.
    """

    dataset: str
    shots: int | None = None
    split: str
    part: str | None = None
    tests: list[str] | None = None
    metric: str
    value: float = Field(ge=0, le=100)
    std: float | None = Field(default=None, ge=0)
    std_source: str | None = None


class PublishedRow(Closed):
    """A row of a paper's table.

    adapter: the method of that name in this package. backbone, frames, views (clips, crops): None
    where not stated. hand: `first` where the source is by the method's own authors.
    """

    method: str
    adapter: str | None = None
    paper: str
    protocol: str
    trained_on: str
    backbone: str | None = None
    frames: int | None = Field(default=None, ge=1)
    views: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    source: str
    hand: Literal["first", "second"]
    remark: str = ""
    figures: list[Figure] = Field(min_length=1)


class Published(Closed):
    """The whole file: papers and sources by key, and the rows of their tables."""

    title: str
    version: int
    papers: dict[str, Paper]
    sources: dict[str, str]
    entries: list[PublishedRow]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for index, entry in enumerate(self.entries):
            if entry.paper not in self.papers:
                raise ErrorAt(("entries", index, "paper"), f"no such paper: {entry.paper!r}")
            named = [entry.source, *(f.std_source for f in entry.figures if f.std_source)]
            for source in named:
                if source not in self.sources:
                    raise ErrorAt(("entries", index, "source"), f"no such source: {source!r}")
        return self

    def of_own_methods(self) -> Published:
        """Only the rows of this package's methods, and all other rows of their papers."""
        kept = [e for e in self.entries if e.adapter is not None or self.papers[e.paper].seed]
        return self.model_copy(update={"entries": kept})


def load_published(path: Path = PUBLISHED_FILE) -> Published:
    """The published figures. Raises SpecError with file, line and key for a broken file."""
    return load_model(path, Published)


@dataclass(frozen=True)
class PublishedBlock:
    """The published figures that belong below a table of ours."""

    published: Published
    layout: TableLayout
    notes: Footnotes

    def rows(self, *, ranked: bool) -> list[TableRow]:
        """All published rows that have a figure for a column of the table, in the file's order.

        ranked: whether the table ranks them together with ours.
        """
        rows = []
        protocol = self.layout.records[0].record.protocol.name
        for entry in self.published.entries:
            if entry.protocol != protocol:
                continue
            cells = [self._cell(entry, place) for place in self.layout.places]
            if any(cells):
                label = self._label(entry)
                marks = sorted(self._marks(entry), key=lambda m: (m.isdigit(), len(m), m))
                rows.append(TableRow(label, cells, [ranked] * len(cells), tuple(marks)))
        return rows

    def _label(self, entry: PublishedRow) -> tuple[str, ...]:
        texts = {
            "Method": f"{entry.method} ({self.published.papers[entry.paper].year})",
            "Backbone": entry.backbone or _UNKNOWN,
            "Frames": str(entry.frames or _UNKNOWN),
            "Views": views_text(entry.views) if entry.views else _UNKNOWN,
        }
        return tuple(texts.get(header, _UNKNOWN) for header in self.layout.headers)

    def _cell(self, entry: PublishedRow, place: Place) -> Cell | None:
        keys = [key for key in (place.key, place.base) if key is not None]
        ours = set().union(*(self.layout.tests[key] for key in keys))
        figure = next((f for f in entry.figures if _fits(f, place, ours)), None)
        if figure is None:
            return None
        marks = []
        tests = None if figure.tests is None else set(figure.tests)
        if figure.part != HARMONIC_PART and tests != ours:
            where = "without saying over which test sets" if tests is None else "over"
            text = f"published {where} {listed(figure.tests or ())}".rstrip()
            marks.append(self.notes.remark(f"{text}; ours: {listed(sorted(ours))}"))
        if figure.std_source is not None:
            source = self.published.sources[figure.std_source]
            marks.append(self.notes.second_hand(f"the deviation is second-hand: {source}"))
        return Cell(value=figure.value, std=figure.std, n=0, marks=tuple(marks))

    def _marks(self, entry: PublishedRow) -> Iterator[str]:
        source = self.published.sources[entry.source]
        if entry.hand == "second":
            yield self.notes.second_hand(f"second-hand: {source}")
        else:
            yield self.notes.remark(source)
        if texts := self._differences(entry):
            yield self.notes.remark(f"other setting than ours: {'; '.join(texts)}")
        remark = f"; {entry.remark}" if entry.remark else ""
        yield self.notes.remark(f"trained on {entry.trained_on}{remark}")

    def _differences(self, entry: PublishedRow) -> list[str]:
        """How the setting differs from our records of the method, or of all methods."""
        grouped = self.layout.grouped.values()
        records = [loaded.record for entries in grouped for loaded in entries]
        ours = [r for r in records if r.adapter.name == entry.adapter] or records
        theirs = architecture(entry.backbone) if entry.backbone else None
        views = entry.views and views_text(entry.views)
        found: dict[str, tuple[Any, set[Any]]] = {
            "backbone": (theirs, {architecture(record.backbone.name) for record in ours}),
            "frames": (entry.frames, {record.video.frames for record in ours}),
            "views": (views, {views_text(record.views) for record in ours}),
        }
        return [
            f"{what} {value or 'not stated'} (ours {listed(sorted(known))})"
            for what, (value, known) in found.items()
            if {value} != known
        ]


def _fits(figure: Figure, place: Place, ours: set[str]) -> bool:
    """Whether a figure belongs into a column; figures state split and part without numbers.

    A column of one numbered split takes figures of that split, or of splits that are not stated.
    """
    key, part = place.key, figure.part or ""
    wanted = HARMONIC_PART if place.base is not None else unnumbered(key.part)
    one_of_several = key.split != unnumbered(key.split) or key.part != unnumbered(key.part)
    return (
        (figure.dataset, figure.shots or 0, figure.metric) == (key.dataset, key.shots, place.metric)
        and (part, figure.split) == (wanted, unnumbered(key.split))
        and (not one_of_several or figure.tests is None or not ours.isdisjoint(figure.tests))
    )


def architecture(name: str) -> str:
    """One spelling of a backbone: `ViT-B-16` for `ViT-B/16` and `ViT-B-16-quickgelu`."""
    plain = name.replace("/", "-").replace("@", "-").removesuffix("px")
    return re.sub(r"-quickgelu$", "", plain)
