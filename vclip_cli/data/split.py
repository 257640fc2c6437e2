"""A split: chosen videos with their classes, the rule that chose them, and what it was made from.

On disk: a CSV `video,class` that a spreadsheet opens, and a `.json` of the same name beside it.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vclip_cli import __version__
from vclip_cli.common.errors import ComparisonRefused, DataError
from vclip_cli.common.files import sha256_bytes, whole_file, write_json
from vclip_cli.common.safe_readers import read_json
from vclip_cli.data.annotation_files import csv_rows, read_lines

FORMAT: Literal["vclip-split/1"] = "vclip-split/1"
COLUMNS = ["video", "class"]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProtocolReference(_Closed):
    """The protocol that asked for a split."""

    name: str
    version: int
    sha256: str


class Rule(_Closed):
    """How the videos were chosen.

    name: `official` (all of a split), `few-shot` (`draw_few_shot`), `base-to-novel` (`draw_base`)
      or `imported`. split: the official split that they come from. subset: the label set's subset
      of classes. half: the half of the classes, found by `halves`, for training counts in
      `counted_in`. nested: whether smaller draws are the beginning of larger ones.
    """

    name: Literal["official", "few-shot", "base-to-novel", "imported"]
    split: str | None = None
    subset: str | None = None
    half: Literal["base", "novel"] | None = None
    halves: Literal["training-counts", "subsets"] | None = None
    counted_in: str | None = None
    nested: bool = False


class ImportedFile(_Closed):
    """The list that a split was imported from."""

    file: str
    sha256: str
    labels_file: str | None = None
    labels_sha256: str | None = None


class SharedVideos(_Closed):
    """`shared` of the `of` videos of a test list are among the `training` training videos."""

    test: str
    shared: int
    of: int
    training: int


class Provenance(_Closed):
    """All that it takes to make a split again, and what it was made from."""

    format: Literal["vclip-split/1"] = FORMAT
    vclip_version: str = __version__
    dataset: str
    part: str
    protocol: ProtocolReference | None = None
    rule: Rule
    shots: int | None = None
    seed: int | None = None
    manifest_sha256: str
    label_set: str
    label_set_sha256: str
    imported: ImportedFile | None = None
    rows: int
    videos: int
    classes: int
    sha256: str
    overlaps_allowed: list[SharedVideos] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _holds_what_its_rule_needs(self) -> Provenance:
        """A key set to null would be a check left out."""
        rule = self.rule
        needed: dict[str, object]
        if rule.name == "imported":
            needed = {"imported": self.imported}
        else:
            needed = {"rule.split": rule.split}
        if rule.name in ("few-shot", "base-to-novel"):
            needed |= {"shots": self.shots, "seed": self.seed}
        if rule.half is not None:
            needed |= {"rule.halves": rule.halves}
        if self.imported is not None and self.imported.labels_file is not None:
            needed |= {"imported.labels_sha256": self.imported.labels_sha256}
        missing = [key for key, value in needed.items() if value is None]
        if missing:
            raise ValueError(f"the rule {rule.name!r} needs {' and '.join(missing)}")
        return self


@dataclass(frozen=True)
class Split:
    """rows: string columns `video` and `class`; a video with several labels has several rows."""

    rows: pd.DataFrame
    provenance: Provenance

    @cached_property
    def csv(self) -> bytes:
        """The bytes of the CSV: UTF-8, LF, a header; quotes only where a field needs them."""
        return rows_as_csv(self.rows)

    @property
    def sha256(self) -> str:
        """The hash of the CSV."""
        return self.provenance.sha256


def rows_as_csv(rows: pd.DataFrame) -> bytes:
    """`video,class` rows as the bytes of a split's CSV."""
    buffer = io.BytesIO()
    rows[COLUMNS].to_csv(buffer, index=False, lineterminator="\n", encoding="utf-8")
    return buffer.getvalue()


def write_split(split: Split, path: Path) -> None:
    """Write `path` (.csv) and the provenance beside it (.json), each whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(split.csv)
    write_json(path.with_suffix(".json"), split.provenance.model_dump(mode="json"))


def read_split(path: Path, *, altered: bool = False) -> Split:
    """The inverse of `write_split`.

    altered: accept rows that the provenance does not vouch for. Raises DataError with file and line
    for a broken or foreign file, and for altered rows.
    """
    rows = _read_rows(path)
    provenance = _read_provenance(path.with_suffix(".json"))
    split = Split(rows, provenance)
    if not altered and sha256_bytes(split.csv) != provenance.sha256:
        raise DataError(
            "the split was altered since it was written",
            where=str(path),
            found=f"sha256 {sha256_bytes(split.csv)[:12]}…",
            expected=f"{provenance.sha256[:12]}…, as its .json says",
            hint=f"vclip split --verify {path} says what differs",
        )
    return split


def _read_rows(path: Path) -> pd.DataFrame:
    table = list(csv_rows(read_lines(path), path))
    if not table or table[0][1] != COLUMNS:
        raise DataError(
            "not a split: the header differs",
            where=f"{path}:1",
            found=",".join(table[0][1]) if table else "an empty file",
            expected=",".join(COLUMNS),
            hint="import other lists with: vclip split DATASET --from-list FILE",
        )
    for line, fields in table[1:]:
        if len(fields) != len(COLUMNS) or not fields[0]:
            raise DataError(
                "wrong number of columns",
                where=f"{path}:{line}",
                found=str(len(fields)),
                expected="a video and a class",
            )
    return pd.DataFrame([fields for _, fields in table[1:]], columns=COLUMNS, dtype=str)


def _read_provenance(path: Path) -> Provenance:
    if not path.is_file():
        raise DataError(
            "the split's provenance is missing",
            where=str(path),
            hint="keep the .json beside the .csv, or import the list with --from-list",
        )
    try:
        return Provenance.model_validate(read_json(path))
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(str(part) for part in found["loc"])
        reason = f"{key}: {found['msg']}" if key else found["msg"].removeprefix("Value error, ")
        raise DataError(f"not a split's provenance: {reason}", where=str(path)) from None


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
