"""Predictions files: one row per video, with its labels and its scores, as Parquet.

There is one float32 column per class, in class order. Every option of the writer is fixed, so equal
predictions give equal bytes (with one version of pyarrow, which writes its own version into the
file).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError
from vclip_cli.common.files import sha256_file, whole_file
from vclip_cli.common.safe_readers import read_parquet
from vclip_cli.results.scores import check_classes, check_scores

if TYPE_CHECKING:
    import pyarrow as pa

SCORE_PREFIX = "score: "
"""Before a class name in a column's name: a class may be called `video`."""
ROW_GROUP = 16_384


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores (N,K) float32 of N videos for K classes, and the videos' true labels."""

    videos: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    scores: NDArray[np.float32]
    classes: tuple[str, ...]


def write_predictions(
    path: Path,
    videos: Sequence[str],
    labels: Sequence[Sequence[str]],
    scores: NDArray[Any],
    classes: Sequence[str],
) -> str:
    """Write a predictions file and give its sha256; rows stay in the order given.

    scores: (N,K), stored as float32. Raises DataError when the parts do not fit together, a video
    or class is listed twice, or a score is not finite; StorageError when writing fails.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with np.errstate(over="ignore"):  # too large for float32 becomes inf, refused below
        scores = check_scores(np.asarray(scores).astype(np.float32))
    _check_parts(videos, labels, scores, classes)
    text = pa.string()
    try:
        columns: dict[str, Any] = {
            "video": pa.array(list(videos), text),
            "labels": pa.array([list(names) for names in labels], pa.list_(text)),
        }
        for position, name in enumerate(classes):
            columns[SCORE_PREFIX + name] = np.ascontiguousarray(scores[:, position])
        table = pa.table(columns)
        table.validate(full=True)
    except UnicodeEncodeError as error:
        raise DataError(
            "a video or class name is not valid text", where=str(path), found=repr(error.object)
        ) from None
    with whole_file(path) as temporary:
        pq.write_table(
            table,
            temporary,
            row_group_size=ROW_GROUP,
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=3,
            use_dictionary=False,
            write_statistics=False,
            store_schema=False,
        )
    return sha256_file(path)


def read_predictions(path: Path) -> Predictions:
    """Read a predictions file. Raises DataError when it is missing or damaged."""
    table = read_parquet(path, "predictions file")
    lacks = " and ".join(name for name in ("video", "labels") if name not in table.column_names)
    if lacks:
        raise DataError(f"not a predictions file: it lacks {lacks}", where=str(path))
    _check_columns(table, path)
    names = [name for name in table.column_names if name.startswith(SCORE_PREFIX)]
    if not names:
        raise DataError("the file holds no score of every class", where=str(path))
    labels = table.column("labels").to_pylist()
    if any(None in names_of_video for names_of_video in labels):
        raise DataError("a row of the predictions file is incomplete", where=str(path))
    scores = np.stack([table.column(name).to_numpy() for name in names], axis=1)
    return Predictions(
        tuple(table.column("video").to_pylist()),
        tuple(map(tuple, labels)),
        scores.astype(np.float32, copy=False),
        tuple(name.removeprefix(SCORE_PREFIX) for name in names),
    )


def _check_parts(
    videos: Sequence[str],
    labels: Sequence[Sequence[str]],
    scores: NDArray[Any],
    classes: Sequence[str],
) -> None:
    lengths = f"{len(videos)}, {len(labels)}, {len(scores)}"
    if not len(videos) == len(labels) == len(scores):
        what = "videos, labels and scores differ in number"
        raise DataError(what, found=lengths, expected="one of each a video")
    if len(classes) != scores.shape[1]:
        found = f"{scores.shape[1]} columns of scores, {len(classes)} classes"
        raise DataError("scores and classes differ in number", found=found)
    check_classes(classes)
    repeated = [video for video, count in Counter(videos).items() if count > 1]
    if repeated:
        raise DataError("videos were scored twice", found=", ".join(map(repr, repeated[:5])))
    if any(isinstance(names, str) for names in labels):
        raise DataError("the labels of a video are a list of names", found="a single text")


def _check_columns(table: pa.Table, path: Path) -> None:
    """Raises DataError for a column that is there twice or holds another kind of value."""
    import pyarrow as pa

    def is_text(kind: pa.DataType) -> bool:
        return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))

    for field in table.schema:
        kind = field.type
        if field.name == "labels":
            right = pa.types.is_list(kind) and is_text(kind.value_type)
        elif field.name == "video":
            right = is_text(kind)
        else:
            right = pa.types.is_floating(kind)
        if not right:
            raise DataError(
                f"the column {field.name[:80]!r} holds another kind of value",
                where=str(path),
                found=str(kind)[:80],
            )
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError("a column of the predictions file is there twice", where=str(path))
    if any(column.null_count for column in table.columns):
        raise DataError("a row of the predictions file is incomplete", where=str(path))
