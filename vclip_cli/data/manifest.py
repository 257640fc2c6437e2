"""The manifest of a dataset: every listed video, its class, its official splits, where it lies."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from vclip_cli import __version__
from vclip_cli.data.annotations import Annotations
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.split_names import split_order
from vclip_cli.data.videos_on_disk import VideosOnDisk, locate, scan_videos
from vclip_cli.errors import DataError
from vclip_cli.files import whole_file, write_json
from vclip_cli.hashing import sha256_bytes, sha256_file

COLUMNS = ["video", "path", "class", "splits"]
FORMAT = "vclip-manifest/1"


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
    for column in ("video", "splits"):
        if rows[column].str.contains("[\n\0]", regex=True).any():
            raise DataError(f"a {column} name holds a line break", where=dataset or None)
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
    sidecar_path = path.with_suffix(".json")
    try:
        facts = json.loads(sidecar_path.read_text(encoding="utf-8"))
        if facts["format"] != FORMAT or facts["rows_sha256"] != sha256_file(path):
            raise DataError("the manifest and its .json do not belong together", where=str(path))
        if _is_csv(path):
            rows = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        else:
            rows = pd.read_parquet(path)
        return Manifest(
            dataset=facts["dataset"],
            rows=rows[COLUMNS],
            multi_label=facts["multi_label"],
            label_set_sha256=facts["label_set_sha256"],
            source_files=facts["source_files"],
            absent=tuple(facts["absent"]),
            unlisted=tuple(facts["unlisted"]),
            remarks=tuple(facts["remarks"]),
            folders=facts["folders"],
            package_version=facts["package_version"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"not a readable manifest: {error}", where=str(path)) from error


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"
