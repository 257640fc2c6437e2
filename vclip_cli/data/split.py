"""A split: chosen videos with their classes, the rule that chose them, and where they came from.

On disk: a CSV `video,class` that a spreadsheet opens, and a `.json` of the same name beside it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import Field, model_validator

from vclip_cli import __version__
from vclip_cli.common.errors import ComparisonRefused, DataError
from vclip_cli.common.files import sha256_bytes, whole_file, write_json
from vclip_cli.common.safe_readers import read_json
from vclip_cli.common.yaml_files import validate_stored
from vclip_cli.data.annotation_files import csv_rows, read_lines
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.label_set import ClosedModel

FORMAT: Literal["vclip-split/1"] = "vclip-split/1"
COLUMNS = ["video", "class"]
_SHOWN = 3


class ProtocolReference(ClosedModel):
    """The protocol that asked for a split."""

    name: str
    version: int
    sha256: str


class Rule(ClosedModel):
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


class ImportedFile(ClosedModel):
    """The list that a split was imported from."""

    file: str
    sha256: str
    labels_file: str | None = None
    labels_sha256: str | None = None


class SharedVideos(ClosedModel):
    """`shared` of the `of` videos of a test list are among the `training` training videos."""

    test: str
    shared: int
    of: int
    training: int

    def __str__(self) -> str:
        """One line with the counts."""
        return (
            f"{self.shared:,} of {self.training:,} training videos are also among the"
            f" {self.of:,} test videos of {self.test}"
        )


class Provenance(ClosedModel):
    """Everything that is needed to make a split again, and the hashes of what it was made from."""

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
    def _has_what_its_rule_needs(self) -> Provenance:
        """Refuse null for a value that the rule needs: null would switch off a check."""
        rule = self.rule
        needed: dict[str, object] = {"rule.split": rule.split}
        if rule.name == "imported":
            needed = {"imported": self.imported}
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
        """The hash of the CSV, as the provenance states it."""
        return self.provenance.sha256

    @cached_property
    def altered(self) -> bool:
        """Whether the rows differ from those that the provenance was written for."""
        return sha256_bytes(self.csv) != self.provenance.sha256

    def save(self, path: str | Path) -> None:
        """Write `path` (.csv) and the provenance beside it (.json), each whole or not at all."""
        path = Path(path)
        with whole_file(path) as temporary:
            temporary.write_bytes(self.csv)
        write_json(path.with_suffix(".json"), self.provenance.model_dump(mode="json"))

    def allowing(self, overlaps: Sequence[SharedVideos]) -> Split:
        """The split with allowed overlaps written into its provenance."""
        changes = {"overlaps_allowed": list(overlaps)}
        return replace(self, provenance=self.provenance.model_copy(update=changes))

    def videos_per_class(self) -> tuple[int, int] | None:
        """The fewest and the most videos of a class; None where no video has a class."""
        counts = self.rows.loc[self.rows["class"] != "", "class"].value_counts()
        return (int(counts.min()), int(counts.max())) if len(counts) else None


def build_split(
    dataset: Dataset,
    rows: pd.DataFrame,
    rule: Rule,
    part: str,
    *,
    shots: int | None = None,
    seed: int | None = None,
    protocol: ProtocolReference | None = None,
    imported: ImportedFile | None = None,
    remarks: Sequence[str] = (),
) -> Split:
    """A split of chosen rows (`video`, `class`) with its whole provenance."""
    rows = rows[COLUMNS].reset_index(drop=True)
    provenance = Provenance(
        dataset=dataset.config.name,
        part=part,
        protocol=protocol,
        rule=rule,
        shots=shots,
        seed=seed,
        manifest_sha256=dataset.manifest.sha256,
        label_set=dataset.label_set.name,
        label_set_sha256=dataset.label_set.sha256,
        imported=imported,
        sha256=sha256_bytes(rows_as_csv(rows)),
        remarks=list(remarks),
        **counted(rows),
    )
    return Split(rows, provenance)


def counted(rows: pd.DataFrame) -> dict[str, Any]:
    """The numbers of rows, videos and classes that a split's provenance states."""
    return {
        "rows": len(rows),
        "videos": int(rows["video"].nunique()),
        "classes": int(rows.loc[rows["class"] != "", "class"].nunique()),
    }


def rows_as_csv(rows: pd.DataFrame) -> bytes:
    """`video,class` rows as the bytes of a split's CSV."""
    buffer = io.BytesIO()
    rows[COLUMNS].to_csv(buffer, index=False, lineterminator="\n", encoding="utf-8")
    return buffer.getvalue()


def read_split(path: Path, *, altered: bool = False) -> Split:
    """The inverse of `Split.save`.

    altered: accept rows that the provenance was not written for. Raises DataError with file and
    line for a broken or foreign file, and for altered rows.
    """
    rows = _read_rows(path)
    split = Split(rows, _read_provenance(path.with_suffix(".json")))
    if split.altered and not altered:
        raise DataError(
            "the split was altered since it was written",
            where=str(path),
            found=f"sha256 {sha256_bytes(split.csv)[:12]}…",
            expected=f"{split.sha256[:12]}…, as its .json says",
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
    return validate_stored(read_json(path), Provenance, path, "not a split's provenance")


def read_listed(path: Path, dataset: Dataset) -> Split:
    """A split file that belongs to the dataset.

    Raises ComparisonRefused when it was made of another dataset, DataError when it is broken,
    altered, or holds rows that the dataset does not list.
    """
    split = read_split(path)
    if split.provenance.dataset != dataset.config.name:
        raise ComparisonRefused(
            "the split file belongs to another dataset",
            where=str(path),
            found=repr(split.provenance.dataset),
            expected=repr(dataset.config.name),
        )
    joined = with_paths(split, dataset)
    unknown = joined[joined["path"].isna()]
    if len(unknown):
        raise DataError(
            f"{len(unknown):,} rows of the split are not in the dataset",
            where=str(path),
            found=f"{unknown['video'].iloc[0]!r} as {unknown['class'].iloc[0]!r}",
            hint=f"vclip split --verify {path}",
        )
    return split


def with_paths(split: Split, dataset: Dataset) -> pd.DataFrame:
    """`video, path, class` in the split's order; `path` is missing for rows not in the dataset."""
    known = dataset.manifest.rows[["video", "class", "path"]]
    if dataset.manifest.multi_label:  # a split may list a video without any of its own classes
        known = pd.concat([known, known.assign(**{"class": ""})]).drop_duplicates()
    joined = split.rows.merge(known, on=["video", "class"], how="left", sort=False)
    return joined[["video", "path", "class"]]


def check_overlap(
    training: Iterable[str], tests: Mapping[str, Iterable[str]], *, allowed: bool = False
) -> list[SharedVideos]:
    """The overlaps of a training list with test lists, given as name to video ids.

    Accuracy on videos that were trained on measures memory, not generalisation. Raises
    ComparisonRefused with counts and examples where there are overlaps, unless they are `allowed`.
    """
    known = set(training)
    overlaps: list[SharedVideos] = []
    found: list[str] = []
    for name, videos in tests.items():
        listed = list(dict.fromkeys(videos))
        shared = [video for video in listed if video in known]
        if shared:
            counts = {"shared": len(shared), "of": len(listed), "training": len(known)}
            overlaps.append(SharedVideos(test=name, **counts))
            found.extend(shared[:_SHOWN])
    if overlaps and not allowed:
        raise ComparisonRefused(
            "; ".join(map(str, overlaps)),
            found=", ".join(found[:_SHOWN]) + ", …",
            expected="no shared video",
            hint="test on the split that belongs to the training list, or say --allow-overlap and"
            " have the result marked",
        )
    return overlaps
