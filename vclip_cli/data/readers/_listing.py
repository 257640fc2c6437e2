"""What the readers of official formats share: finding files, tables, classes, joining splits."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, did_you_mean
from vclip_cli.data.annotation_files import read_lines
from vclip_cli.data.label_set import LabelSet, load_label_set
from vclip_cli.data.readers import COLUMNS

# One row per line of an official list: what it says, and the file and line where it says so.
LISTED = ("video", "file", "class", "split", "source", "line")


def official_files(path: Path, pattern: str, subfolders: Sequence[str] = ()) -> list[Path]:
    """The files whose names match a pattern, sorted by name.

    `path` is such a file itself, the folder that holds them, or the folder above one of
    `subfolders`. Empty when there are none.
    """
    if path.is_file():
        return [path] if re.fullmatch(pattern, path.name) else []
    for folder in (path, *(path / name for name in subfolders)):
        try:
            files = sorted(file for file in folder.iterdir() if re.fullmatch(pattern, file.name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=str(folder)) from error
        if files:
            return files
    return []


def beginning(file: Path) -> str:
    """The first 4096 bytes of a file as text; empty where it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(4096).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""


def require_files(files: list[Path], path: Path, title: str, expected: str) -> list[Path]:
    """`files` themselves. Raises DataError when there are none."""
    if not files:
        raise DataError(f"no {title} list was found here", where=str(path), expected=expected)
    return files


def label_set_or(label_set: LabelSet | None, name: str) -> LabelSet:
    """The label set that was given, or the shipped one of a name."""
    return load_label_set(name) if label_set is None else label_set


_LARGE = 5_000
_TOUCHING_QUOTES = re.compile(rb'[^,\n\r]"[^,\n\r]')
"""A quote inside a field: rare, and strict readers do not agree on it."""


class Classes:
    """Official names of the spellings in a list, each looked up once."""

    def __init__(self, label_set: LabelSet) -> None:
        self.label_set = label_set
        self._known: dict[str, str] = {}

    def official(self, name: str, source: Path | str, line: int | None = None) -> str:
        """The official name. Raises DataError with the place and the near misses."""
        if name not in self._known:
            try:
                self._known[name] = self.label_set.resolve(name)
            except DataError as error:
                where = place(source, line)
                raise DataError(
                    error.what, where=where, expected=error.expected, hint=error.hint
                ) from None
        return self._known[name]


def place(source: Path | str, line: int | None = None) -> str:
    """`FILE:LINE`, or the file alone where no line is known."""
    return f"{source}:{line}" if line else str(source)


def read_csv(path: Path, required: Iterable[str], optional: Iterable[str] = ()) -> pd.DataFrame:
    """Columns of a CSV file with a header, as strings, and `line`, where each record begins.

    Only the required and the optional columns are kept; an optional one may be absent. Raises
    DataError for a missing column, a record of another length and broken quotes.
    """
    table = _read_regular_csv(path)
    if table is not None:
        header = _header(list(table.columns), required, place(path, 1))
        table.columns = pd.Index(header)
        kept = [name for name in (*required, *optional) if name in header]
        return table[kept].assign(line=range(2, len(table) + 2))
    return _read_csv_by_record(path, required, optional)


def _read_regular_csv(path: Path) -> pd.DataFrame | None:
    """A large file of one record a line, read at once; None for all that wants a closer look.

    Whatever is odd in a file (blank lines, records of another length, quotes that go wrong) is left
    to the reader that goes record by record and can say where.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        content = path.read_bytes()
        if content.count(b"\n") < _LARGE or b"\0" in content or _TOUCHING_QUOTES.search(content):
            return None
        names = content[: content.index(b"\n")].decode("utf-8-sig").strip().split(",")
        read = arrow_csv.read_csv(
            pa.BufferReader(content),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except (OSError, UnicodeDecodeError, pa.ArrowException):
        return None
    lines = content.count(b"\n") + (not content.endswith(b"\n"))
    if read.num_rows + 1 != lines or read.column_names != names:
        return None
    return read.to_pandas().astype("str")


def _read_csv_by_record(
    path: Path, required: Iterable[str], optional: Iterable[str]
) -> pd.DataFrame:
    header: list[str] = []
    values: list[str] = []  # all records end to end: 400,000 small lists would cost seconds
    lines: list[int] = []
    for record, line in _csv_records(path):
        if not header:
            header = _header(record, required, place(path, line))
        elif len(record) != len(header):
            raise DataError(
                "wrong number of columns",
                where=place(path, line),
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


def _csv_records(path: Path) -> Iterator[tuple[list[str], int]]:
    """The records that are not blank, each with the line on which it begins."""
    reader = csv.reader(read_lines(path), strict=True)
    line = 1
    try:
        for record in reader:
            if record:
                yield record, line
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"not valid CSV: {error}", where=place(path, line)) from None


def _header(record: list[str], required: Iterable[str], where: str) -> list[str]:
    header = [name.strip().lower() for name in record]
    for name in required:
        if name not in header:
            raise DataError(
                f"the column {name!r} is missing",
                where=where,
                found=",".join(header),
                hint=did_you_mean(name, header),
            )
    return header


def refuse_rows(listed: pd.DataFrame, wrong: pd.Series, what: str, expected: str, key: str) -> None:
    """Raise DataError at the first row that is wrong, showing its `key`; nothing when none is."""
    if wrong.any():
        row = listed[wrong].iloc[0]
        raise DataError(
            what, where=place(row["source"], row["line"]), found=repr(row[key]), expected=expected
        )


def require_videos(listed: pd.DataFrame, path: Path) -> pd.DataFrame:
    """`listed` itself. Raises DataError when it is empty, as after a download that broke off."""
    if listed.empty:
        raise DataError("the lists name no video", where=str(path))
    return listed


def join_splits(listed: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One row per video, in the order of first appearance, its splits joined by `;`; and remarks.

    Raises DataError for a video with two classes, or in two parts of the same numbered split.
    """
    if not listed["video"].duplicated().any():
        return _as_rows(listed.assign(splits=listed["split"])), []
    repeated = listed[listed.duplicated("video", keep=False)]
    pairs = repeated.drop_duplicates(["video", "split"])
    _refuse_conflicts(repeated, pairs)
    rows = listed.drop_duplicates("video")
    joined = rows["video"].map(pairs.groupby("video", sort=False)["split"].agg(";".join))
    remarks = []
    if again := len(repeated) - len(pairs):
        remarks.append(f"{again:,} lines repeat a video of the same list and were left out")
    if shared := int(pairs[_part_number(pairs) == ""].duplicated("video").sum()):
        remarks.append(f"{shared:,} videos stand in more than one split")
    return _as_rows(rows.assign(splits=joined.fillna(rows["split"]))), remarks


def _part_number(listed: pd.DataFrame) -> pd.Series:
    """The number of a split such as `train-1`, empty for one such as `train`."""
    return listed["split"].str.partition("-")[2]


def _refuse_conflicts(repeated: pd.DataFrame, pairs: pd.DataFrame) -> None:
    first = repeated.drop_duplicates("video").set_index("video")
    differ = repeated[repeated["class"] != repeated["video"].map(first["class"])]
    if len(differ):
        row = differ.iloc[0]
        raise DataError(
            f"the video {row['video']!r} is listed with two classes",
            where=place(row["source"], row["line"]),
            found=f"{row['class']!r} after {first['class'][row['video']]!r}",
        )
    numbered = pairs.assign(number=_part_number(pairs)).query("number != ''")
    twice = numbered[numbered.duplicated(["video", "number"])]
    if len(twice):
        row = twice.iloc[0]
        raise DataError(
            f"the video {row['video']!r} stands in two parts of one split",
            where=place(row["source"], row["line"]),
            found=", ".join(pairs.loc[pairs["video"] == row["video"], "split"]),
        )


def _as_rows(table: pd.DataFrame) -> pd.DataFrame:
    return table.loc[:, list(COLUMNS)].reset_index(drop=True).astype("str")


def count_remarks(listed: pd.DataFrame, official: Mapping[str, int | None]) -> list[str]:
    """What is missing or more than in the official lists.

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
