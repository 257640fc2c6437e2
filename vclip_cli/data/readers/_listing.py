"""Shared by the readers of official formats: finding files, reading tables, joining splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.data.annotation_files import csv_rows, numbered_lines, read_lines
from vclip_cli.data.label_set import LabelSet
from vclip_cli.data.readers import COLUMNS, Annotations

LISTED = ("video", "file", "class", "split", "source", "line")
"""Columns of one row per line of an official list; the last two say which file and line."""
Row = tuple[str, str, str, str, str, int]


@dataclass(frozen=True)
class OfficialFiles:
    """The files of a format: their names and folders.

    pattern: a regular expression for file names. subfolders: where they may be, below the given
    folder. title, expected: the dataset and some file names, for errors.
    """

    title: str
    pattern: str
    expected: str
    subfolders: tuple[str, ...] = ()

    def find(self, path: Path, pattern: str = "") -> list[Path]:
        """The files whose names match, sorted by name; empty when there are none.

        `path` is such a file itself, the folder that holds them, or the folder above one of the
        subfolders. Raises DataError when a folder cannot be read.
        """
        matches = re.compile(pattern or self.pattern).fullmatch
        if path.is_file():
            return [path] if matches(path.name) else []
        for folder in (path, *(path / name for name in self.subfolders)):
            try:
                files = sorted(file for file in folder.iterdir() if matches(file.name))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise DataError(f"cannot be read: {error.strerror}", where=str(folder)) from error
            if files:
                return files
        return []

    def require(self, path: Path) -> list[Path]:
        """As `find`, but raises DataError when there are none."""
        files = self.find(path)
        if not files:
            what = f"no {self.title} list was found here"
            raise DataError(what, where=str(path), expected=self.expected)
        return files

    def part(self, file: Path, group: str = "split") -> str:
        """A named group of the pattern in a file's name; empty when the name does not match."""
        match = re.fullmatch(self.pattern, file.name)
        return match[group] if match else ""


def beginning(file: Path) -> str:
    """The first 4096 bytes of a file as text; empty where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(4096).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def numbered_classes(
    files: Iterable[Path], label_set: LabelSet, kind: str, pattern: str, like: str
) -> dict[str, str]:
    """Code to official class, from files with lines `CODE NAME`.

    kind: what a code is called in errors; pattern: a regular expression for it; like: an example of
    a line. Raises DataError with file and line.
    """
    found: dict[str, str] = {}
    for source in files:
        for line, text in numbered_lines(source):
            where = f"{source}:{line}"
            code, _, name = text.partition(" ")
            if not name.strip() or not re.fullmatch(pattern, code):
                expected = f"a {kind} and a name, such as {like!r}"
                raise DataError("not a class", where=where, found=repr(text), expected=expected)
            if code in found:
                raise DataError(f"the {kind} {code!r} appears twice", where=where)
            found[code] = label_set.resolve(name.strip(), where)
    return found


def read_csv(path: Path, required: Iterable[str], optional: Iterable[str] = ()) -> pd.DataFrame:
    """Columns of a CSV file with a header, as strings, and `line`, where each record begins.

    Only the required and the optional columns are kept; an optional one may be absent. Raises
    DataError for a missing column, a record of another length and broken quotes.
    """
    header: list[str] = []
    values: list[str] = []  # all records end to end: 400,000 small lists would cost seconds
    lines: list[int] = []
    for line, record in csv_rows(read_lines(path), path):
        if not header:
            header = [name.strip().lower() for name in record]
            for name in required:
                if name not in header:
                    raise DataError(
                        f"the column {name!r} is missing",
                        where=f"{path}:{line}",
                        found=",".join(header),
                        hint=did_you_mean(name, header),
                    )
        elif len(record) != len(header):
            raise DataError(
                "wrong number of columns",
                where=f"{path}:{line}",
                found=str(len(record)),
                expected=f"{len(header)} ({','.join(header)})",
            )
        else:
            values.extend(record)
            lines.append(line)
    if not header:
        raise DataError("the file is empty", where=str(path), expected="a header line")
    kept = [name for name in (*required, *optional) if name in header]
    columns = {name: values[header.index(name) :: len(header)] for name in kept}
    return pd.DataFrame(columns, dtype="str").assign(line=lines)


def refuse_rows(listed: pd.DataFrame, wrong: pd.Series, what: str, expected: str, key: str) -> None:
    """Raise DataError at the first wrong row, with its value of `key`, where there is one."""
    if wrong.any():
        row = listed[wrong].iloc[0]
        raise DataError(what, where=_place(row), found=repr(row[key]), expected=expected)


def require_videos(listed: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`listed` itself. Raises DataError when it is empty, as after a download that broke off."""
    if listed.empty:
        raise DataError("the lists name no video", where=str(path))
    return listed


def official_annotations(
    rows: Sequence[Row] | pd.DataFrame,
    path: Path,
    label_set: LabelSet,
    official: Mapping[str, int | None],
    remarks: Sequence[str] = (),
) -> Annotations:
    """One row per video of official lists with one class per video; see `LISTED` for the columns.

    official: split name to its official number of videos. remarks: those of the reader. Raises
    DataError for empty lists, for a video with two classes or in two parts of one numbered split.
    """
    listed = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows, columns=list(LISTED))
    joined, found = _join_splits(require_videos(listed, path))
    return Annotations(
        joined,
        label_set.name,
        remarks=(*found, *count_remarks(listed, official), *remarks),
    )


def _place(row: pd.Series) -> str:
    """`FILE:LINE` of a row, or the file alone where no line is known."""
    return f"{row['source']}:{row['line']}" if row["line"] else str(row["source"])


def _join_splits(listed: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row per video, in the order of first appearance, its splits joined by `;`; and remarks.

    Raises DataError for a video with two classes, or in two parts of the same numbered split.
    """
    rows = listed.drop_duplicates("video").rename(columns={"split": "splits"})
    remarks = []
    if len(rows) < len(listed):
        repeated = listed[listed.duplicated("video", keep=False)]
        pairs = repeated.drop_duplicates(["video", "split"])
        pairs = pairs.assign(number=pairs["split"].str.partition("-")[2])
        _refuse_conflicts(repeated, pairs)
        joined = rows["video"].map(pairs.groupby("video", sort=False)["split"].agg(";".join))
        rows["splits"] = joined.fillna(rows["splits"])
        if again := len(repeated) - len(pairs):
            remarks.append(f"{again:,} lines repeat a video of the same list and were left out")
        if shared := int(pairs[pairs["number"] == ""].duplicated("video").sum()):
            remarks.append(f"{shared:,} videos are in more than one split")
    return rows.loc[:, list(COLUMNS)].reset_index(drop=True).astype("str"), remarks


def _refuse_conflicts(repeated: pd.DataFrame, pairs: pd.DataFrame) -> None:
    """pairs: each video and split once, with the `number` of a split such as `train-1`."""
    first = repeated.drop_duplicates("video").set_index("video")["class"]
    differ = repeated[repeated["class"] != repeated["video"].map(first)]
    if len(differ):
        row = differ.iloc[0]
        raise DataError(
            f"the video {row['video']!r} is listed with two classes",
            where=_place(row),
            found=f"{row['class']!r} after {first[row['video']]!r}",
        )
    numbered = pairs[pairs["number"] != ""]
    twice = numbered[numbered.duplicated(["video", "number"])]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(
            f"the video {row['video']!r} is in two parts of one split",
            where=_place(row),
            found=", ".join(pairs.loc[pairs["video"] == row["video"], "split"]),
        )


def count_remarks(listed: pd.DataFrame, official: Mapping[str, int | None]) -> list[str]:
    """Remarks on differences from the official lists: missing splits and other counts.

    official: split name to its number of videos, None where copies are known to differ.
    """
    counts = listed.drop_duplicates(["video", "split"])["split"].value_counts()
    absent = [split for split in official if split not in counts]
    remarks = [f"no list of {', '.join(absent)}"] if absent else []
    for split, expected in official.items():
        if split in counts and expected is not None and counts[split] != expected:
            found = f"{counts[split]:,} videos are listed, officially {expected:,}"
            remarks.append(f"{split}: {found}")
    return remarks
