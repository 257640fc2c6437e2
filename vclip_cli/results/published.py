"""The figures that papers print (`published.yaml`): each with its source and its setting."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vclip_cli.common.yaml_files import ErrorAt, load_model

PUBLISHED_FILE = Path(__file__).with_name("published.yaml")
HARMONIC_PART = "harmonic_mean"


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Paper(_Closed):
    """seed: one of the papers whose methods this package implements."""

    title: str
    year: int
    venue: str | None = None
    arxiv: str | None = None
    seed: bool = False


class Figure(_Closed):
    """One printed number, in %.

    split: without the number of a repeat; part: `base`, `novel`, `harmonic_mean`, or another part;
    tests: the test sets that it is the mean of, None where that is not stated; std_source: where
    the deviation comes from, when not from where the value does.
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


class Entry(_Closed):
    """A row of a paper's table.

    adapter: our method of that name. backbone, frames, views (clips, crops): None where not stated.
    hand: `first` where the method's own authors published the figures at the source.
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


class Published(_Closed):
    """The whole file: papers and sources by key, and what they print."""

    title: str
    version: int
    papers: dict[str, Paper]
    sources: dict[str, str]
    entries: list[Entry]

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
        """The same with nothing but this package's methods and what else their papers print."""
        kept = [e for e in self.entries if e.adapter is not None or self.papers[e.paper].seed]
        return self.model_copy(update={"entries": kept})


def load_published(path: Path = PUBLISHED_FILE) -> Published:
    """The published figures. Raises SpecError with file, line and key for a broken file."""
    return load_model(path, Published)
