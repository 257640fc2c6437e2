"""Metrics of several labels per video, compared with scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score

from vclip_cli.common.errors import DataError
from vclip_cli.results.decisions import best_threshold, fit_sigmoid
from vclip_cli.results.measure import measure

NAMES = (
    "map", "map_micro", "f1_macro", "f1_micro", "precision_at_1", "precision_at_5",
    "calibration_error",
)  # fmt: skip
CLASSES = [f"c{k}" for k in range(9)]


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (150,9), some of them equal, and labels; c4 has no positive video."""
    random = np.random.default_rng(5)
    positive = random.random((150, 9)) < 0.25
    positive[:, 4] = False
    probabilities = expit(random.normal(size=(150, 9)) - 1 + 2 * positive).round(2)
    return probabilities.astype(np.float32), positive


def names(positive: np.ndarray) -> list[tuple[str, ...]]:
    return [tuple(CLASSES[k] for k in np.flatnonzero(row)) for row in positive]


def evaluated(scores: np.ndarray, positive: np.ndarray, **options: float) -> dict[str, float]:
    """Each metric's value, as a share."""
    classes = CLASSES[: scores.shape[1]]
    found = measure(scores, names(positive), classes, names=NAMES, kind="multi-label", **options)
    return {name: metric.value / 100 for name, metric in found.metrics.items()}


def test_all_equal_scikit_learn(drawn) -> None:
    probabilities, positive = drawn
    present = positive.any(axis=0)
    found = measure(
        probabilities, names(positive), CLASSES, names=NAMES, kind="multi-label", threshold=0.31
    )
    decided = {"": probabilities >= 0.5, "_chosen": probabilities.astype(float) >= 0.31}
    expected = {
        "map": average_precision_score(positive[:, present], probabilities[:, present]),
        "map_micro": average_precision_score(positive, probabilities, average="micro"),
    }
    for ending, chosen in decided.items():
        expected[f"f1_macro{ending}"] = f1_score(
            positive[:, present], chosen[:, present], average="macro"
        )
        expected[f"f1_micro{ending}"] = f1_score(positive, chosen, average="micro")
    for name, value in expected.items():
        assert found.metrics[name].value == pytest.approx(100 * value, abs=1e-9, rel=0), name
    assert found.without_positives == ["c4"]
    assert [entry.n for entry in found.per_class.values] == positive.sum(axis=0).tolist()
    for metric in found.metrics.values():
        assert metric.low < metric.value < metric.high


def test_f1_at_the_chosen_threshold_needs_one(drawn) -> None:
    probabilities, positive = drawn
    without = evaluated(probabilities, positive)
    assert list(without) == list(NAMES)
    both = evaluated(probabilities, positive, threshold=0.5)
    assert set(both) - set(NAMES) == {"f1_macro_chosen", "f1_micro_chosen"}
    assert both["f1_macro_chosen"] == both["f1_macro"] == without["f1_macro"]


def test_calibration_error_weighs_scikit_learns_bins_by_their_pairs(drawn) -> None:
    probabilities, positive = drawn
    true, stated = calibration_curve(positive.ravel(), probabilities.ravel(), n_bins=15)
    counts = np.bincount(np.minimum((probabilities.astype(float) * 15).astype(int), 14).ravel())
    expected = (np.abs(true - stated) * counts[counts > 0]).sum() / counts.sum()
    found = evaluated(probabilities, positive)["calibration_error"]
    assert found == pytest.approx(expected, abs=1e-7)
    assert evaluated(positive.astype(float), positive)["calibration_error"] == 0


def test_precision_at_k() -> None:
    scores = np.array([[0.9, 0.8, 0.1], [0.2, 0.2, 0.2]])
    positive = np.array([[True, False, True], [False, True, False]])
    found = evaluated(scores, positive)
    assert found["precision_at_1"] == 0.5  # of equal scores the first label
    assert found["precision_at_5"] == pytest.approx(0.5)  # fewer than five labels: all of them


def test_the_chosen_threshold_is_the_best_of_all(drawn) -> None:
    probabilities, positive = drawn
    chosen = best_threshold(probabilities, positive)

    def micro_f1(threshold: float) -> float:
        return evaluated(probabilities, positive, threshold=threshold)["f1_micro_chosen"]

    others = [micro_f1(threshold) for threshold in np.unique(probabilities)[::5]]
    assert micro_f1(chosen) >= max(others)
    assert chosen not in probabilities
    with pytest.raises(DataError, match="no threshold"):
        best_threshold(probabilities, np.zeros_like(positive))


def test_the_fitted_sigmoid_is_that_of_a_logistic_regression() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(20, 3, size=(400, 6))
    positive = random.random((400, 6)) < expit(1.4 * (logits - 23))
    slope, bias = fit_sigmoid(logits, positive)
    plain = LogisticRegression(C=np.inf).fit(logits.reshape(-1, 1), positive.ravel())
    assert slope == pytest.approx(plain.coef_[0, 0], rel=0.02)
    assert bias == pytest.approx(-plain.intercept_[0] / plain.coef_[0, 0], abs=0.05)
    backwards, _ = fit_sigmoid(-logits, positive)
    assert backwards > 0  # no ranking is turned round
    apart, _ = fit_sigmoid(np.array([[0.0, 1.0]]), np.array([[False, True]]))
    assert np.isfinite(apart)
    with pytest.raises(DataError, match="both kinds"):
        fit_sigmoid(logits, np.ones_like(positive))


def test_what_is_no_probability_is_refused(drawn) -> None:
    probabilities, positive = drawn
    with pytest.raises(DataError, match="outside 0 to 1"):
        evaluated(probabilities * 10, positive)


def test_charades_map_is_the_mean_over_classes_over_all_videos() -> None:
    """The official definition, spelled out: videos without any label count as well."""
    random = np.random.default_rng(3)
    positive = random.random((60, 9)) < 0.15
    positive[:7] = False
    positive[8, :] = True
    scores = random.random((60, 9))
    precisions = []
    for k in range(9):
        order = np.argsort(-scores[:, k])
        hits = positive[order, k]
        precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
        precisions.append((precision * hits).sum() / hits.sum())
    assert evaluated(scores, positive)["map"] == pytest.approx(np.mean(precisions), abs=1e-11)
