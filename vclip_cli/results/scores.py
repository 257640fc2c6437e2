"""Checks of scores and labels, for predictions files and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vclip_cli.common.errors import DataError, did_you_mean


def check_scores(scores: NDArray[Any]) -> NDArray[Any]:
    """The scores (N,K) as an array. Raises DataError unless they are finite floats, not empty.

    A NaN compares false with everything: accuracies computed from it would look like numbers.
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
    """Raises DataError when a class name is repeated: scores are found by name."""
    repeated = [name for name, count in Counter(classes).items() if count > 1]
    if repeated:
        raise DataError("class names are repeated", found=", ".join(map(repr, repeated[:5])))


def label_matrix(
    labels: Sequence[Sequence[str]], classes: Sequence[str], *, single: bool = False
) -> NDArray[np.bool_]:
    """Which labels each video has, as booleans (N,K); a video may have none.

    single: whether each video must have exactly one. Raises DataError for any other number of
    labels then, and for a label that is not among the classes.
    """
    check_classes(classes)
    index = {name: position for position, name in enumerate(classes)}
    matrix = np.zeros((len(labels), len(classes)), dtype=bool)
    for row, names in enumerate(labels):
        if single and len(names) != 1:
            raise DataError(
                "a single-label metric needs exactly one label a video",
                found=f"{len(names)} labels at row {row}",
                hint="multi-label test sets are measured by mAP",
            )
        for name in names:
            if name not in index:
                raise DataError(
                    f"the label {name!r} is not among the {len(index)} classes",
                    hint=did_you_mean(name, index),
                )
            matrix[row, index[name]] = True
    return matrix
