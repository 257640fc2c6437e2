"""The manifest of a dataset: every listed video, its class, its official splits, its file."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, Strict

from vclip_cli import __version__
from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.common.files import sha256_bytes, sha256_file, whole_file, write_json
from vclip_cli.common.safe_readers import read_json, read_parquet
from vclip_cli.common.yaml_files import validate_stored
from vclip_cli.data.annotation_files import EVERYTHING
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import Annotations
from vclip_cli.data.videos_on_disk import Located, locate, scan_videos

COLUMNS = ["video", "path", "class", "splits"]
FORMAT = "vclip-manifest/1"
_KINDS = ("train", "validation", "test", "unused")
JOIN = "+"
"""`train-1+test-1` is the union of two splits."""
Names = Annotated[tuple[str, ...], Strict(False)]
"""A tuple of texts, which JSON holds as a list."""


class Manifest(BaseModel):
    """One row per listed video and label, in the order of the official files.

    rows: columns of strings: `video` (id), `path` (relative to the video root with forward slashes,
      empty when absent), `class` (empty for a video without labels), `splits` (joined by `;`).
    package_version: of the vclip that built it.
    source_files: annotation file name to sha256.
    remarks: what is unusual but not an error, with counts.
    folders: the folders of the video root with their modification times in nanoseconds.
    absent: ids of listed videos that are not on disk; unlisted: paths on disk that nobody lists.
    """

    model_config = ConfigDict(frozen=True, strict=True, arbitrary_types_allowed=True)

    rows: pd.DataFrame = Field(exclude=True)
    package_version: str
    dataset: str
    multi_label: bool
    label_set_sha256: str
    source_files: dict[str, str]
    remarks: Names
    folders: dict[str, int]
    absent: Names
    unlisted: Names

    @cached_property
    def sha256(self) -> str:
        """The hash of the list: ids, classes, splits, their order, and the label set.

        Where the files are and which are missing differs between machines and does not count.
        """
        columns = ["\n".join(self.rows[name].tolist()) for name in ("video", "class", "splits")]
        head = [FORMAT, str(self.multi_label), self.label_set_sha256]
        return sha256_bytes("\0".join([*head, *columns]).encode())

    @cached_property
    def splits(self) -> list[str]:
        """The names of the official splits: by number, training before the others."""
        joined = self.rows["splits"].unique().tolist()
        names = {name for text in joined for name in text.split(";") if name}
        return sorted(names, key=split_order)

    @property
    def videos(self) -> int:
        """The number of listed videos."""
        return int(self.rows["video"].nunique())


def split_order(name: str) -> tuple[str, int, str]:
    """A sort key: by number (`train-1`), training before validation before test."""
    kind, _, number = name.partition("-")
    return number, _KINDS.index(kind) if kind in _KINDS else len(_KINDS), kind


def has_split(manifest: Manifest, split: str) -> bool:
    """Whether the dataset has an official split, or every part of a union such as `test-1+test-2`.

    `all` and `full` stand for every listed video; every dataset has them.
    """
    return all(part in EVERYTHING or part in manifest.splits for part in split.split(JOIN))


def official_split(manifest: Manifest, split: str) -> pd.DataFrame:
    """The manifest's rows of a split (or a union with `+`), in the order of the official files.

    Raises DataError with the near misses when the dataset has no such split.
    """
    wanted = split.split(JOIN)
    for part in wanted:
        if not has_split(manifest, part):
            raise DataError(
                f"the dataset {manifest.dataset!r} has no split {part!r}",
                found=", ".join(manifest.splits) or "no split at all",
                hint=did_you_mean(part, [*manifest.splits, *EVERYTHING]),
            )
    if any(part in EVERYTHING for part in wanted):
        return manifest.rows
    joined = manifest.rows["splits"]
    holding = [text for text in joined.unique() if not set(wanted).isdisjoint(text.split(";"))]
    return manifest.rows[joined.isin(holding)]


def build_manifest(
    annotations: Annotations,
    videos_root: Path | None,
    label_set: LabelSet,
    *,
    dataset: str = "",
    source_files: dict[str, str] | None = None,
) -> Manifest:
    """Join the result of an annotation reader with the files on disk (not searched when None).

    Class names are resolved to the label set's own. Raises DataError for an unknown class, for a
    video with two classes in a single-label dataset, and for a name with a line break.
    """
    rows = annotations.rows[["video", "file", "class", "splits"]].astype(str)
    if rows.empty:
        raise DataError("the annotations list no video", where=dataset or None)
    for column in ("video", "file", "splits"):
        _refuse_line_breaks(rows[column], column, dataset)
    official = {name: label_set.resolve(name) if name else "" for name in rows["class"].unique()}
    rows["class"] = rows["class"].map(official)
    rows = _one_row_per_label(rows)
    if not annotations.multi_label:
        _require_one_label(rows, dataset)
    located, folders = Located(), dict[str, int]()
    if videos_root is not None:
        disk = scan_videos(videos_root)
        columns = rows.drop_duplicates("video")[["video", "file", "class"]]
        listed = list(columns.itertuples(index=False, name=None))
        located, folders = locate(listed, disk), disk.folders
    rows["path"] = [located.paths.get(video, "") for video in rows["video"].tolist()]
    return Manifest(
        rows=rows[COLUMNS].reset_index(drop=True),
        package_version=__version__,
        dataset=dataset,
        multi_label=annotations.multi_label,
        label_set_sha256=label_set.sha256,
        source_files=source_files or {},
        remarks=(*annotations.remarks, *located.remarks),
        folders=folders,
        absent=located.absent,
        unlisted=located.unlisted,
    )


def _refuse_line_breaks(names: pd.Series, column: str, dataset: str) -> None:
    broken = names[names.str.contains("[\n\r\0]", regex=True)]
    if len(broken):
        raise DataError(
            f"{len(broken):,} names of a {column} hold a line break",
            where=dataset or None,
            found=repr(broken.iloc[0])[:200],
            hint="rename the files, or leave them out of the list",
        )


def _one_row_per_label(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that repeat a video and class (listed in several files) joined into one."""
    if not rows.duplicated(["video", "class"]).any():
        return rows.copy()
    joined = rows.groupby(["video", "class"], sort=False)["splits"].agg(
        lambda parts: ";".join(dict.fromkeys(name for part in parts for name in part.split(";")))
    )
    kept = rows.drop_duplicates(["video", "class"]).copy()
    kept["splits"] = joined.to_numpy()
    return kept


def _require_one_label(rows: pd.DataFrame, dataset: str) -> None:
    doubled = rows.duplicated("video")
    if doubled.any():
        video = rows.loc[doubled, "video"].iloc[0]
        classes = rows.loc[rows["video"] == video, "class"]
        raise DataError(
            f"the video {video!r} has several labels in a single-label dataset",
            where=dataset or None,
            found=", ".join(map(repr, classes)),
            expected="one label per video",
        )


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the rows as Parquet, and the rest as JSON beside it."""
    with whole_file(path) as temporary:
        manifest.rows.to_parquet(temporary, index=False)
    hashes = {"sha256": manifest.sha256, "rows_sha256": sha256_file(path)}
    stated = {"format": FORMAT, **hashes, **manifest.model_dump(mode="json")}
    write_json(path.with_suffix(".json"), stated)


def read_manifest(path: Path) -> Manifest:
    """The inverse of `write_manifest`. Raises DataError for a missing, foreign or altered file."""
    sidecar = path.with_suffix(".json")
    facts = read_json(sidecar)
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise DataError("not a manifest of this version", where=str(sidecar))
    try:
        if facts.get("rows_sha256") != sha256_file(path):
            raise DataError("the manifest and its .json do not belong together", where=str(path))
        rows = read_parquet(path, "manifest").to_pandas()[COLUMNS]
        stated = {**facts, "rows": rows}
        manifest = validate_stored(stated, Manifest, path, "not a readable manifest")
        sound = manifest.sha256 == facts.get("sha256") and not _leads_out(rows["path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"not a readable manifest: {str(error)[:200]}"
        raise DataError(what, where=str(path)) from error
    if not sound:
        raise DataError("the manifest's rows are not what its .json says", where=str(path))
    return manifest


def _leads_out(paths: pd.Series) -> bool:
    """Whether a path is absolute or leads out of the folder of videos."""
    return bool(paths.str.contains(r"^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)|\0", regex=True).any())
