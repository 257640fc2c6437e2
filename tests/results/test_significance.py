"""Tests and intervals against figures that statsmodels 0.15 and scipy 1.17 give on fixed data."""

import numpy as np
import pytest

from vclip_cli.common.resources import list_metrics
from vclip_cli.results.intervals import (
    bootstrap_differences,
    difference_interval,
    mcnemar_exact,
    mean_interval,
    wilson_interval,
)
from vclip_cli.results.measure import find_metric
from vclip_cli.results.metric import scored_videos
from vclip_cli.results.scores import average_precision


@pytest.mark.parametrize(
    ("only_one", "only_other", "p"),
    [  # statsmodels.stats.contingency_tables.mcnemar([[50, b], [c, 20]], exact=True).pvalue
        (5, 15, 0.04138946533203125),
        (30, 12, 0.007915897334896727),
        (0, 8, 0.0078125),
        (40, 40, 1.0),
        (1, 0, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_equals_statsmodels(only_one, only_other, p):
    assert mcnemar_exact(only_one, only_other) == pytest.approx(p, rel=1e-12)
    assert mcnemar_exact(only_other, only_one) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [  # statsmodels.stats.proportion.proportion_confint(right, of, method="wilson")
        (5, 10, 0.23659309051256394, 0.7634069094874361),
        (0, 20, 0.0, 0.1611251580528194),
        (783, 1530, 0.4867198152994028, 0.5367506677762592),
    ],
)
def test_wilson_equals_statsmodels(right, of, low, high):
    assert wilson_interval(right, of) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [  # statsmodels.stats.weightstats.DescrStatsW(values).tconfint_mean()
        ([40.0, 44.0, 45.0], (36.42758939227157, 49.57241060772843)),
        ([51.2, 50.1, 52.7, 49.9], (48.931553069473175, 53.01844693052683)),
    ],
)
def test_the_interval_of_a_mean_equals_statsmodels(values, expected):
    assert mean_interval(values, 0, 100) == pytest.approx(expected, rel=1e-9)


def test_the_interval_of_a_mean_stays_within_what_values_can_be():
    assert mean_interval([99.0, 99.9], 0, 100)[1] == 100
    assert mean_interval([0.1, 5.0], 0, 100)[0] == 0


def _paired(videos: int = 400):
    rng = np.random.default_rng(7)
    one = rng.random(videos) < 0.6
    other = np.where(rng.random(videos) < 0.2, ~one, one)
    return one, other


def test_the_bootstrap_of_a_difference_agrees_with_its_law():
    one, other = _paired()
    assert (one.sum(), other.sum()) == (234, 223)

    def share(right):
        return lambda weights: right @ weights / weights.sum(axis=0)

    found = bootstrap_differences(share(one), share(other), len(one), 4000)
    # the standard error of the mean of the paired differences; scipy.stats.bootstrap gives 0.02237
    assert found.std(ddof=1) == pytest.approx(0.022457946811763534, rel=0.03)
    assert found.mean() == pytest.approx(-0.0275, abs=0.001)
    low, high, p = difference_interval(-0.0275, found)
    # scipy.stats.norm.interval(0.95, mean, standard error) and 2 * norm.sf(|mean| / error)
    assert (low, high) == pytest.approx((-0.07151676691777266, 0.016516766917772662), abs=2e-3)
    assert p == pytest.approx(0.2207595680871679, abs=0.02)
    again = bootstrap_differences(share(one), share(other), len(one), 4000)
    assert (again == found).all()


def test_no_difference_at_all_is_no_evidence():
    assert difference_interval(0.0, np.zeros(10)) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("name", list_metrics())
def test_a_weight_counts_like_a_repeated_video(name):
    metric = find_metric(name)
    kind = metric.kinds[0]
    single = kind == "single-label"
    names = [("a",), ("b",), ("c",), ("b",)] if single else [("a",), ("a", "b"), ("c",), ()]
    scores = np.random.default_rng(0).random((4, 3)).astype(np.float32)
    rows = [0, 1, 1, 3, 2, 2, 2]

    def values(scores, labels, weights):
        scored = scored_videos(scores, labels, ("a", "b", "c"), kind, threshold=0.4)
        return metric.weighted(scored)(weights)

    found = values(scores, names, np.array([[1], [2], [3], [1]]))
    repeated = values(
        scores[rows], [names[row] for row in rows], np.ones((len(rows), 1), dtype=np.int64)
    )
    assert found == pytest.approx(repeated)


def test_average_precision_of_a_known_ranking():
    scores = np.array([0.9, 0.8, 0.7, 0.6])
    positive = np.array([True, False, True, False])
    assert average_precision(scores, positive)[0] == pytest.approx((1 + 2 / 3) / 2)
