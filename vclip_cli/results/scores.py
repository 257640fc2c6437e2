"""Checks on scores and labels that predictions files and metrics share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError, did_you_mean


def check_scores(scores: NDArray[Any]) -> NDArray[Any]:
    """Give back the scores (N,K) when they are floats, two-dimensional, not empty and finite.

    Raises DataError otherwise: a NaN compares false with everything, so that accuracies computed
    from it look like numbers and mean nothing.
    """
    scores = np.asarray(scores)
    if scores.ndim != 2:
        raise DataError("scores of the wrong shape", found=str(scores.shape), expected="(N, K)")
    if scores.shape[0] == 0:
        raise DataError("there are no scored videos", found="0 rows of scores")
    if scores.shape[1] == 0:
        raise DataError("there are no classes", found="0 columns of scores")
    if not np.issubdtype(scores.dtype, np.floating):
        raise DataError("scores of the wrong type", found=str(scores.dtype), expected="floats")
    broken = ~np.isfinite(scores)
    if broken.any():
        row, column = (int(index) for index in np.argwhere(broken)[0])
        raise DataError(
            "the scores hold values that are not finite",
            found=f"{int(broken.any(axis=1).sum())} of {len(scores)} videos, "
            f"the first {scores[row, column]} at row {row}, class {column}",
            hint="run again with --precision fp32; if they stay, the weights are damaged",
        )
    return scores


def check_classes(classes: Sequence[str]) -> None:
    """Raises DataError when a class name stands twice: scores are found by name."""
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise DataError("class names are repeated", found=", ".join(map(repr, repeated[:5])))


def class_indices(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> NDArray[np.int64]:
    """The index (N,) of each video's one label in `classes`.

    Raises DataError when a video has no label or several, or one that is not among the classes.
    """
    index = _index_of(classes)
    for row, names in enumerate(labels):
        if len(names) != 1:
            raise DataError(
                "a single-label metric needs exactly one label a video",
                found=f"{len(names)} labels at row {row}",
                hint="multi-label test sets are measured by mAP",
            )
        _require_known(names, index)
    return np.array([index[names[0]] for names in labels], dtype=np.int64)


def label_matrix(labels: Sequence[Sequence[str]], classes: Sequence[str]) -> NDArray[np.bool_]:
    """Which labels each video has, as booleans (N,K); a video may have none.

    Raises DataError for a label that is not among the classes.
    """
    index = _index_of(classes)
    matrix = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, names in enumerate(labels):
        _require_known(names, index)
        matrix[row, [index[name] for name in names]] = True
    return matrix


def _index_of(classes: Sequence[str]) -> dict[str, int]:
    check_classes(classes)
    return {name: position for position, name in enumerate(classes)}


def _require_known(names: Sequence[str], index: dict[str, int]) -> None:
    for name in names:
        if name not in index:
            raise DataError(
                f"the label {name!r} is not among the {len(index)} classes",
                hint=did_you_mean(name, index),
            )
