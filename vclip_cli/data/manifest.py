"""The manifest of a dataset: every listed video, its class, its official splits, where it lies."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from vclip_cli import __version__
from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.common.files import sha256_bytes, sha256_file, whole_file, write_json
from vclip_cli.common.safe_readers import read_json, read_parquet
from vclip_cli.data.annotation_files import EVERYTHING, split_order
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import Annotations
from vclip_cli.data.videos_on_disk import VideosOnDisk, locate, scan_videos

COLUMNS = ["video", "path", "class", "splits"]
FORMAT = "vclip-manifest/1"


class _Sidecar(BaseModel):
    """What stands beside the rows; no key of it may be null."""

    model_config = ConfigDict(extra="allow", strict=True)

    package_version: str
    dataset: str
    multi_label: bool
    label_set_sha256: str
    sha256: str
    rows_sha256: str
    source_files: dict[str, str]
    remarks: list[str]
    folders: dict[str, int]
    absent: list[str]
    unlisted: list[str]


@dataclass(frozen=True)
class Manifest:
    """One row per listed video and label, in the order of the official files.

    rows: columns of strings: `video` (id), `path` (relative to the video root with forward slashes,
      empty when absent), `class` (empty for a video without labels), `splits` (joined by `;`).
    source_files: annotation file name to sha256.
    absent: ids of listed videos that are not on disk; unlisted: paths on disk that nobody lists.
    remarks: what is odd but no error, with counts.
    folders: the folders of the video root with their modification times in nanoseconds.
    package_version: of the vclip that built it.
    """

    dataset: str
    rows: pd.DataFrame
    multi_label: bool
    label_set_sha256: str
    source_files: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    folders: dict[str, int] = field(default_factory=dict)
    package_version: str = __version__

    @cached_property
    def sha256(self) -> str:
        """The hash of what is listed: ids, classes, splits, their order, and the label set.

        Where the files lie, and which are missing, belongs to a machine and does not count.
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


def build_manifest(
    annotations: Annotations,
    videos_root: Path | VideosOnDisk | None,
    label_set: LabelSet,
    *,
    dataset: str = "",
    source_files: dict[str, str] | None = None,
) -> Manifest:
    """Join what an annotation reader gave with what lies on disk (not looked at when None).

    Class names are resolved to the label set's own. Raises DataError for an unknown class, for a
    video with two classes in a single-label set, and for a name with a line break.
    """
    rows = annotations.rows[["video", "file", "class", "splits"]].astype(str)
    if rows.empty:
        raise DataError("the annotations list no video", where=dataset or None)
    for column in ("video", "file", "splits"):
        _refuse_names(rows[column], column, dataset)
    official = {name: label_set.resolve(name) if name else "" for name in rows["class"].unique()}
    rows["class"] = rows["class"].map(official)
    rows = _one_row_per_label(rows)
    if not annotations.multi_label:
        _require_one_label(rows, dataset)
    absent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    folders: dict[str, int] = {}
    remarks = list(annotations.remarks)
    rows.insert(1, "path", "")
    if videos_root is not None:
        disk = scan_videos(videos_root) if isinstance(videos_root, Path) else videos_root
        firsts = rows.drop_duplicates("video")
        columns = (firsts[name].tolist() for name in ("video", "file", "class"))
        listed = zip(*columns, strict=True)
        located = locate(listed, disk)
        rows["path"] = [located.paths.get(video, "") for video in rows["video"].tolist()]
        absent = tuple(video for video in firsts["video"].tolist() if video not in located.paths)
        unlisted, folders = located.unlisted, disk.folders
        remarks.extend(located.remarks)
        if disk.unusable:
            remarks.append(
                f"{len(disk.unusable):,} files or folders were left out, as their names hold line"
                f" breaks or bytes that are no text (such as {disk.unusable[0][:100]})"
            )
    return Manifest(
        dataset=dataset,
        rows=rows[COLUMNS].reset_index(drop=True),
        multi_label=annotations.multi_label,
        label_set_sha256=label_set.sha256,
        source_files=dict(source_files or {}),
        absent=absent,
        unlisted=unlisted,
        remarks=tuple(remarks),
        folders=folders,
    )


def _refuse_names(names: pd.Series, column: str, dataset: str) -> None:
    """Refuse names that would break the lines of a list."""
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
    doubled = rows[rows.duplicated("video", keep=False)]
    if doubled.empty:
        return
    video = doubled["video"].iloc[0]
    classes = doubled.loc[doubled["video"] == video, "class"]
    raise DataError(
        f"the video {video!r} has several labels in a single-label dataset",
        where=dataset or None,
        found=", ".join(repr(name) for name in classes),
        expected="one label a video",
    )


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write the rows as Parquet or CSV, by the ending of `path`, and the rest as JSON beside it."""
    with whole_file(path) as temporary:
        if _is_csv(path):
            manifest.rows.to_csv(temporary, index=False, lineterminator="\n")
        else:
            manifest.rows.to_parquet(temporary, index=False)
    sidecar: dict[str, Any] = {
        "format": FORMAT,
        "package_version": manifest.package_version,
        "dataset": manifest.dataset,
        "multi_label": manifest.multi_label,
        "label_set_sha256": manifest.label_set_sha256,
        "sha256": manifest.sha256,
        "rows_sha256": sha256_file(path),
        "source_files": manifest.source_files,
        "remarks": list(manifest.remarks),
        "folders": manifest.folders,
        "absent": list(manifest.absent),
        "unlisted": list(manifest.unlisted),
    }
    write_json(path.with_suffix(".json"), sidecar)


def read_manifest(path: Path) -> Manifest:
    """The inverse of `write_manifest`. Raises DataError for a missing, foreign or altered file."""
    facts = read_json(path.with_suffix(".json"))
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise DataError("not a manifest of this version", where=str(path.with_suffix(".json")))
    try:
        stated = _Sidecar.model_validate(facts)
        if stated.rows_sha256 != sha256_file(path):
            raise DataError("the manifest and its .json do not belong together", where=str(path))
        if _is_csv(path):
            rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        else:
            rows = read_parquet(path, "manifest").to_pandas()
        manifest = Manifest(
            dataset=stated.dataset,
            rows=rows[COLUMNS],
            multi_label=stated.multi_label,
            label_set_sha256=stated.label_set_sha256,
            source_files=stated.source_files,
            absent=tuple(stated.absent),
            unlisted=tuple(stated.unlisted),
            remarks=tuple(stated.remarks),
            folders=stated.folders,
            package_version=stated.package_version,
        )
        sound = manifest.sha256 == stated.sha256 and not _climbs(manifest.rows["path"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a readable manifest: {_words(error)}", where=str(path)) from error
    if not sound:
        raise DataError("the manifest's rows are not what its .json says", where=str(path))
    return manifest


def _climbs(paths: pd.Series) -> bool:
    """Whether a path is absolute or leads out of the folder of videos."""
    return bool(paths.str.contains(r"^/|^[A-Za-z]:|(?:^|/)\.\.(?:/|$)|\0", regex=True).any())


def _words(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)[:200]


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


JOIN = "+"
"""`train-1+test-1` is the union of two splits."""


def has_split(manifest: Manifest, split: str) -> bool:
    """Whether every part of `split` is an official split of the dataset, or stands for everything.

    `all` and `full` stand for every listed video.
    """
    return all(part in EVERYTHING or part in manifest.splits for part in split.split(JOIN))


def official_split(manifest: Manifest, split: str) -> pd.DataFrame:
    """The manifest's rows of a split (or a union with `+`), in the order of the official files.

    Raises DataError with the near misses when the dataset has no such split.
    """
    wanted = split.split(JOIN)
    for part in wanted:
        if part not in EVERYTHING and part not in manifest.splits:
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
