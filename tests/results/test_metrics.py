import numpy as np
import pytest
from make_records import measure_ranked, measure_single
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    top_k_accuracy_score,
)

from vclip_cli.common.errors import DataError
from vclip_cli.results.intervals import (
    resampled_weights,
    standard_error_interval,
    wilson_interval,
)
from vclip_cli.results.metric import ScoredVideos
from vclip_cli.results.scores import average_precision, harmonic_mean


@pytest.fixture
def single():
    """300 videos of 7 classes, the last class without videos."""
    random = np.random.default_rng(0)
    targets = random.integers(0, 6, 300)
    scores = random.normal(size=(300, 7))
    scores[np.arange(300), targets] += 1
    return scores, targets


@pytest.fixture
def multi():
    """200 videos, 9 labels, many equal scores; label 4 has no positive video."""
    random = np.random.default_rng(1)
    positive = random.random((200, 9)) < 0.15
    positive[:, 4] = False
    scores = np.round(random.normal(size=(200, 9)) + positive, 1)
    return scores.astype(np.float32), positive


NAMES = [f"c{k}" for k in range(7)]


def truth(targets):
    return [(f"c{k}",) for k in targets]


def names(positive):
    return [tuple(f"c{k}" for k in np.flatnonzero(row)) for row in positive]


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_equals_scikit_learn(single, k):
    scores, targets = single
    expected = top_k_accuracy_score(targets, scores, k=k, labels=range(7))
    found = measure_single(scores, truth(targets), NAMES).metrics[f"top{k}"]
    assert found.value == pytest.approx(100 * expected, abs=1e-10)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_mean_class_accuracy_equals_scikit_learn(single):
    scores, targets = single
    expected = balanced_accuracy_score(targets, scores.argmax(axis=1))
    classes = [f"c{k}" for k in range(7)]
    found = measure_single(scores, [(f"c{k}",) for k in targets], classes).metrics
    assert found["mean_class_accuracy"].value == pytest.approx(100 * expected, abs=1e-10)


def test_ties_rank_in_class_order():
    tied = ScoredVideos(np.zeros((3, 3)), np.eye(3, dtype=bool))
    np.testing.assert_array_equal(tied.ranks, [0, 1, 2])


def test_top5_of_fewer_classes_takes_them_all():
    evaluation = measure_single(np.eye(3), [("b",)] * 3, ["a", "b", "c"])
    assert evaluation.metrics["top5"].value == 100
    assert evaluation.metrics["top1"].value == pytest.approx(100 / 3)


def test_single_label_evaluation(single):
    scores, targets = single
    classes = [f"c{k}" for k in range(7)]
    evaluation = measure_single(scores, [(f"c{k}",) for k in targets], classes)
    top1 = evaluation.metrics["top1"]
    right = int((scores.argmax(axis=1) == targets).sum())
    assert (top1.value, top1.n, top1.unit) == (pytest.approx(100 * right / 300), 300, "%")
    expected = binomtest(right, 300).proportion_ci(method="wilson")
    assert (top1.low, top1.high) == pytest.approx((100 * expected.low, 100 * expected.high))
    best_five = np.argsort(-scores, axis=1)[:, :5]
    among = (best_five == targets[:, None]).any(axis=1).mean()
    assert evaluation.metrics["top5"].value == pytest.approx(100 * among)
    mean = evaluation.metrics["mean_class_accuracy"]
    assert mean.low < mean.value < mean.high
    assert evaluation.without_positives == ["c6"]
    last = evaluation.per_class.values[6]
    assert (last.name, last.value, last.n) == ("c6", None, 0)
    third = evaluation.per_class.values[2]
    mine = targets == 2
    assert third.n == mine.sum()
    assert third.value == pytest.approx(100 * (scores[mine].argmax(axis=1) == 2).mean())


def test_classes_are_found_by_name_not_by_position(single):
    scores, targets = single
    labels = [(f"c{k}",) for k in targets]
    classes = [f"c{k}" for k in range(7)]
    order = [3, 1, 6, 0, 2, 5, 4]
    there = measure_single(scores, labels, classes).metrics["top1"]
    shuffled = measure_single(scores[:, order], labels, [classes[k] for k in order]).metrics["top1"]
    assert there == shuffled


def test_average_precisions_equal_scikit_learn(multi):
    scores, positive = multi
    found = ScoredVideos(scores, positive).precisions
    present = [k for k in range(9) if k != 4]
    expected = [average_precision_score(positive[:, k], scores[:, k]) for k in present]
    np.testing.assert_allclose(found[present], expected, rtol=0, atol=1e-12)
    assert np.isnan(found[4])
    macro = average_precision_score(positive[:, present], scores[:, present], average="macro")
    micro = average_precision_score(positive, scores, average="micro")
    found = measure_ranked(scores, names(positive), [f"c{k}" for k in range(9)]).metrics
    assert found["map"].value == pytest.approx(100 * macro, abs=1e-10)
    assert found["map_micro"].value == pytest.approx(100 * micro, abs=1e-10)


def test_weighted_average_precision_equals_scikit_learn(multi):
    scores, positive = multi
    weights = next(resampled_weights(200, 6))
    found = average_precision(scores[:, 0], positive[:, 0], weights)
    expected = [
        average_precision_score(positive[:, 0], scores[:, 0], sample_weight=column)
        for column in weights.T
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_multi_label_evaluation_names_labels_without_positives(multi):
    scores, positive = multi
    classes = [f"c{k}" for k in range(9)]
    evaluation = measure_ranked(scores, names(positive), classes)
    assert list(evaluation.metrics) == ["map", "map_micro"]
    assert evaluation.without_positives == ["c4"]
    assert evaluation.per_class.values[0].n == positive[:, 0].sum()
    for metric in evaluation.metrics.values():
        assert metric.low < metric.value < metric.high
        assert metric.n == 200
    again = measure_ranked(scores, names(positive), classes)
    assert again == evaluation


def test_map_interval_covers_about_as_wide_as_fresh_samples_spread():
    random = np.random.default_rng(2)

    def sample():
        positive = random.random((400, 3)) < 0.3
        return random.normal(size=(400, 3)) + positive, positive

    means = [np.nanmean(ScoredVideos(*sample()).precisions) for _ in range(200)]
    spread = np.std(means)
    scores, positive = sample()
    metric = measure_ranked(scores, names(positive), ["c0", "c1", "c2"]).metrics["map"]
    assert (metric.high - metric.low) / 100 == pytest.approx(2 * 1.96 * spread, rel=0.3)


def test_too_many_pairs_leave_the_interval_out(multi, monkeypatch):
    scores, positive = multi
    monkeypatch.setattr("vclip_cli.results.metrics.map.MAX_RANKED", 10)
    classes = [f"c{k}" for k in range(9)]
    metric = measure_ranked(scores, names(positive), classes).metrics["map"]
    assert (metric.low, metric.high) == (None, None)
    assert metric.value > 0


def test_a_single_video_is_measured():
    evaluation = measure_ranked(np.array([[0.9, 0.1]]), [("a",)], ["a", "b"])
    assert evaluation.metrics["map"].value == 100
    single = measure_single(np.array([[0.9, 0.1]]), [("b",)], ["a", "b"])
    assert single.metrics["top1"].value == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad):
    scores = np.zeros((4, 2))
    scores[2, 1] = bad
    with pytest.raises(DataError, match=r"1 of 4 videos.*row 2, class 1"):
        measure_single(scores, [("a",)] * 4, ["a", "b"])
    with pytest.raises(DataError, match="not finite"):
        measure_ranked(scores, [("a",)] * 4, ["a", "b"])


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((0, 2)), [], "no scored videos"),
        (np.zeros((2, 0)), [("a",)] * 2, "no classes"),
        (np.zeros((1, 3)), [("a",)], r"expected \(1 videos, 2 classes\)"),
        (np.zeros((1, 2), dtype=int), [("a",)], "wrong type"),
        (np.zeros((1, 2)), [("aa",)], "did you mean 'a'|not among"),
        (np.zeros((1, 2)), [()], "exactly one label"),
        (np.zeros((1, 2)), [("a", "b")], "exactly one label"),
    ],
)
def test_single_label_input_that_does_not_fit(scores, labels, message):
    with pytest.raises(DataError, match=message):
        measure_single(scores, labels, ["a", "b"] if scores.shape[1] else [])


def test_multi_label_without_any_label_is_refused():
    with pytest.raises(DataError, match="no scored video has a label"):
        measure_ranked(np.zeros((2, 2)), [(), ()], ["a", "b"])


def test_harmonic_mean():
    assert harmonic_mean(80, 60) == pytest.approx(68.5714, abs=1e-4)
    assert harmonic_mean(0, 60) == 0
    assert harmonic_mean(0, 0) == 0


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 9), (765, 1530)])
def test_wilson_equals_scipy(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson_interval(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (2, 1), (-1, 3)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(ValueError, match="trials"):
        wilson_interval(k, n)


def test_resampling_draws_as_many_videos_as_there_are(monkeypatch):
    monkeypatch.setattr("vclip_cli.results.intervals.BLOCK", 30)
    blocks = list(resampled_weights(10, 7))
    assert [block.shape for block in blocks] == [(10, 3), (10, 3), (10, 1)]
    assert (np.concatenate(blocks, axis=1).sum(axis=0) == 10).all()


def test_block_size_does_not_change_the_draws(monkeypatch):
    whole = np.concatenate(list(resampled_weights(10, 7)), axis=1)
    monkeypatch.setattr("vclip_cli.results.intervals.BLOCK", 30)
    np.testing.assert_array_equal(np.concatenate(list(resampled_weights(10, 7)), axis=1), whole)


def test_standard_error_interval_stays_in_the_unit_range():
    low, high = standard_error_interval(0.99, np.array([0.9, 1.0, 0.95]))
    assert low == pytest.approx(0.99 - 1.959964 * 0.05, abs=1e-6)
    assert high == 1
