"""Predictions files: one row a video, with its labels and its scores, as Parquet.

The whole form has one float32 column a class, in the order of the classes. The ranked form keeps
the best classes only. Both are written with every option fixed, so that equal predictions give
equal bytes (with one version of pyarrow, which writes its own version into the file).
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
RANKED_CLASS = "class at rank "
RANKED_SCORE = "score at rank "
ROW_GROUP = 16_384


@dataclass(frozen=True, eq=False)
class Predictions:
    """Scores (N,K) float32 of N videos for K classes, and the videos' true labels."""

    videos: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    scores: NDArray[np.float32]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RankedPredictions:
    """The k best classes of N videos, best first, with their scores (N,k) float32."""

    videos: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    ranked_classes: tuple[tuple[str, ...], ...]
    ranked_scores: NDArray[np.float32]


def write_predictions(
    path: Path,
    videos: Sequence[str],
    labels: Sequence[Sequence[str]],
    scores: NDArray[Any],
    classes: Sequence[str],
    *,
    top_k: int | None = None,
) -> str:
    """Write a predictions file and give its sha256; rows stay in the order given.

    scores: (N,K), stored as float32. top_k: keep only the k best classes of each video, equal
    scores in the order of the classes. Raises DataError when the parts do not fit together, a
    video or class stands twice, or a score is not finite; StorageError when writing fails.
    """
    import pyarrow as pa

    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is refused below
        scores = check_scores(np.asarray(scores).astype(np.float32))
    _check_parts(videos, labels, scores, classes)
    text = pa.string()
    try:
        columns: dict[str, Any] = {
            "video": pa.array(list(videos), text),
            "labels": pa.array([list(names) for names in labels], pa.list_(text)),
        }
        if top_k is None:
            for position, name in enumerate(classes):
                columns[SCORE_PREFIX + name] = np.ascontiguousarray(scores[:, position])
        else:
            columns |= _ranked_columns(scores, classes, top_k)
        table = pa.table(columns)
        table.validate(full=True)
    except UnicodeEncodeError as error:
        raise DataError(
            "a video or class name is not valid text", where=str(path), found=repr(error.object)
        ) from None
    _write(path, table)
    return sha256_file(path)


def read_predictions(path: Path) -> Predictions:
    """Read the whole form of a predictions file. Raises DataError when it is missing or damaged."""
    table = _read(path)
    classes = [name for name in table.column_names if name.startswith(SCORE_PREFIX)]
    if not classes:
        hint = "it holds the best classes only: write it without top-k" if _ranks(table) else None
        raise DataError("the file holds no score of every class", where=str(path), hint=hint)
    videos, labels = _videos_and_labels(table, path)
    scores = _matrix(table, classes)
    return Predictions(
        videos, labels, scores, tuple(name.removeprefix(SCORE_PREFIX) for name in classes)
    )


def read_ranked_predictions(path: Path) -> RankedPredictions:
    """Read the ranked form of a predictions file. Raises DataError when it is not one."""
    table = _read(path)
    ranks = range(1, _ranks(table) + 1)
    columns = [f"{kind}{rank}" for rank in ranks for kind in (RANKED_CLASS, RANKED_SCORE)]
    if not ranks or not set(columns) <= set(table.column_names):
        raise DataError("the file holds no ranked classes", where=str(path))
    videos, labels = _videos_and_labels(table, path)
    names = [table.column(f"{RANKED_CLASS}{rank}").to_pylist() for rank in ranks]
    scores = _matrix(table, [f"{RANKED_SCORE}{rank}" for rank in ranks])
    return RankedPredictions(videos, labels, tuple(zip(*names, strict=True)), scores)


def best_classes(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    """The indices (N,k) of the k best classes, best first; equal scores in class order."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _check_parts(
    videos: Sequence[str],
    labels: Sequence[Sequence[str]],
    scores: NDArray[Any],
    classes: Sequence[str],
) -> None:
    lengths = (len(videos), len(labels), scores.shape[0])
    if len(set(lengths)) > 1:
        raise DataError(
            "videos, labels and scores differ in number",
            found=", ".join(map(str, lengths)),
            expected="one of each a video",
        )
    if len(classes) != scores.shape[1]:
        raise DataError(
            "scores and classes differ in number",
            found=f"{scores.shape[1]} columns of scores, {len(classes)} classes",
        )
    check_classes(classes)
    repeated = [video for video, count in Counter(videos).items() if count > 1]
    if repeated:
        raise DataError("videos were scored twice", found=", ".join(map(repr, repeated[:5])))
    if any(isinstance(names, str) for names in labels):
        raise DataError("the labels of a video are a list of names", found="a single text")


def _ranked_columns(
    scores: NDArray[np.float32], classes: Sequence[str], top_k: int
) -> dict[str, Any]:
    import pyarrow as pa

    if top_k < 1:
        raise DataError("top-k needs at least one rank", found=str(top_k))
    order = best_classes(scores, top_k)
    values = np.take_along_axis(scores, order, axis=1)
    names = np.array(classes, dtype=object)[order]
    columns: dict[str, Any] = {}
    for rank in range(order.shape[1]):
        columns[f"{RANKED_CLASS}{rank + 1}"] = pa.array(names[:, rank].tolist(), pa.string())
        columns[f"{RANKED_SCORE}{rank + 1}"] = np.ascontiguousarray(values[:, rank])
    return columns


def _write(path: Path, table: pa.Table) -> None:
    import pyarrow.parquet as pq

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


def _read(path: Path) -> pa.Table:
    table = read_parquet(path, "predictions file")
    missing = [name for name in ("video", "labels") if name not in table.column_names]
    if missing:
        raise DataError("no predictions file: it lacks " + " and ".join(missing), where=str(path))
    _check_columns(table, path)
    return table


def _check_columns(table: pa.Table, path: Path) -> None:
    """Raises DataError for a column that stands twice or holds another kind of value."""
    import pyarrow as pa

    is_text = (pa.types.is_string, pa.types.is_large_string)
    for field in table.schema:
        if field.name == "labels":
            right = pa.types.is_list(field.type) and any(
                is_(field.type.value_type) for is_ in is_text
            )
        elif field.name == "video" or field.name.startswith(RANKED_CLASS):
            right = any(is_(field.type) for is_ in is_text)
        else:
            right = pa.types.is_floating(field.type)
        if not right:
            raise DataError(
                f"the column {field.name[:80]!r} holds another kind of value",
                where=str(path),
                found=str(field.type)[:80],
            )
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError("a column of the predictions file stands twice", where=str(path))
    if any(column.null_count for column in table.columns):
        raise DataError("a row of the predictions file is incomplete", where=str(path))


def _ranks(table: pa.Table) -> int:
    return sum(name.startswith(RANKED_CLASS) for name in table.column_names)


def _videos_and_labels(
    table: pa.Table, path: Path
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    videos = table.column("video").to_pylist()
    labels = table.column("labels").to_pylist()
    if any(None in names for names in labels):
        raise DataError("a row of the predictions file is incomplete", where=str(path))
    return tuple(videos), tuple(map(tuple, labels))


def _matrix(table: pa.Table, names: Sequence[str]) -> NDArray[np.float32]:
    columns = [table.column(name).to_numpy() for name in names]
    return np.stack(columns, axis=1).astype(np.float32, copy=False)
