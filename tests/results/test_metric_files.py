"""One's own metric: found through `VCLIP_PATH`, measured, shown, and blamed for its faults."""

from __future__ import annotations

import json

import numpy as np
import pytest
from make_records import make_values

from vclip_cli.common.errors import SpecError, UsageError
from vclip_cli.common.resources import list_metrics
from vclip_cli.results.measure import find_metric, find_metrics, measure
from vclip_cli.results.record import Record, write_record
from vclip_cli.results.table import table

TRUTH = """
import numpy as np

from vclip_cli.results.metric import Metric


class NegativeLogLikelihood(Metric):
    name = "nll"
    title = "negative log-likelihood"
    kinds = ("single-label",)
    unit = "nats"
    direction = "lower"
    digits = 3

    def value(self, scored):
        true = scored.scores[np.arange(len(scored)), scored.targets]
        return float(-np.log(np.maximum(true, 1e-6)).mean())
"""
CLASSES = ["a", "b", "c"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "own" / "metrics").mkdir(parents=True)
    monkeypatch.setenv("VCLIP_PATH", str(tmp_path / "own"))
    return tmp_path / "own" / "metrics"


def predictions(videos=40, seed=0):
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.ones(3), size=videos).astype(np.float32)
    return scores, [(CLASSES[k],) for k in generator.integers(0, 3, videos)]


def measured(names, **options):
    return measure(*predictions(), CLASSES, names=names, kind="single-label", **options)


def test_every_shipped_metric_says_what_tables_need():
    for name in list_metrics():
        metric = find_metric(name)
        assert metric.name == name
        assert metric.title and metric.kinds and metric.unit == "%"
    assert find_metric("calibration_error").direction == "lower"


def test_exactly_the_named_metrics_are_measured():
    assert list(measured(["top5"]).metrics) == ["top5"]
    assert list(measured(["mean_class_accuracy", "top1"]).metrics) == [
        "mean_class_accuracy", "top1",
    ]  # fmt: skip
    both = measured(["top1"])
    assert both.per_class.metric == "top1"
    assert [entry.name for entry in both.per_class.values] == CLASSES


def test_a_metric_of_ones_own_is_measured_with_an_interval_and_shown(folder, tmp_path):
    (folder / "nll.py").write_text(TRUTH)
    found = measured(["top1", "nll"])
    value = found.metrics["nll"]
    scores, labels = predictions()
    true = [row[CLASSES.index(names[0])] for row, names in zip(scores, labels, strict=True)]
    assert value.value == pytest.approx(-np.log(true).mean(), rel=1e-6)
    assert value.low < value.value < value.high
    assert value.unit == "nats"
    for method, change in (("clip", 0.0), ("x-clip", -0.4)):
        values = make_values(method=method, scored=40, protocol_metrics=["top1", "nll"])
        values["metrics"] = json.loads(found.model_dump_json())["metrics"]
        for key in ("value", "low", "high"):
            values["metrics"]["nll"][key] += change
        write_record(Record.model_validate(values), tmp_path / "runs" / method / "record.json")
    shown = table([tmp_path / "runs"])
    assert "negative log-likelihood" in shown.to_markdown()
    last = [cells[-1] for cells in shown.tables[0].cells]
    assert [cell.place for cell in last] == [2, 1]  # the lowest is the best
    assert f"**{value.value - 0.4:.3f}**" in shown.to_markdown()
    frame = shown.to_frame()
    assert set(frame["unit"]) == {"%", "nats"}


def test_ones_own_file_comes_before_the_shipped_one(folder):
    (folder / "top1.py").write_text(
        TRUTH.replace('"nll"', '"top1"').replace("negative log-likelihood", "own")
    )
    assert find_metric("top1").title == "own"


def test_an_unknown_metric_offers_the_near_one():
    with pytest.raises(UsageError, match=r"unknown metric 'top6'.*'top"):
        measured(["top6"])


def test_a_metric_of_another_kind_is_refused():
    with pytest.raises(UsageError, match=r"'map' is not for single-label protocols.*top1"):
        find_metrics(["top1", "map"], "single-label")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("import numpy as np", "import numpy as np\nraise RuntimeError('oh')", "RuntimeError: oh"),
        ("import numpy as np", "import nothing_of_this_name", "ModuleNotFoundError"),
        ('name = "nll"', 'name = "other"', "name = 'nll'.*other"),
        ('title = "negative log-likelihood"', "", "states no title"),
        ('("single-label",)', '("several",)', "states kinds other than"),
        ('"lower"', '"down"', "states a direction other than"),
        ("def value", "def other", "neither `value` nor `weighted`"),
        ('unit = "nats"', 'unit = "%"', r"a share in 0\.\.1"),
        ("return float(", "return undefined(", "the metric fails: NameError"),
        ("return float(", "return 1 / 0 * float(", "the metric fails: ZeroDivisionError"),
    ],
)
def test_a_broken_file_is_named(folder, old, new, message):
    (folder / "nll.py").write_text(TRUTH.replace(old, new))
    with pytest.raises(SpecError, match=message) as raised:
        measured(["nll"])
    assert "nll.py" in str(raised.value.where)
    assert raised.value.exit_code == 3


LEAVING = TRUTH.replace('"""', "").replace(
    "        true =", "        raise SystemExit(0)\n        true ="
)
ERASING = TRUTH.replace("        true =", "        scored.scores[:] = 0\n        true =")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys\nsys.exit(0)\n", "cannot be imported: SystemExit"),
        (LEAVING, "the metric fails: SystemExit"),
        (ERASING, "read-only"),
        (TRUTH.replace("    digits = 3", '    digits = "x"'), "digits"),
        (TRUTH.replace("    digits = 3", "    def __init__(self, x): pass"), "cannot be made"),
    ],
)
def test_a_metric_that_leaves_or_changes_what_others_see_is_refused(folder, text, words):
    (folder / "nll.py").write_text(text)
    scores, labels = predictions()
    with pytest.raises(SpecError, match=words) as caught:
        measure(scores, labels, CLASSES, names=["nll", "top1"], kind="single-label")
    assert "nll.py" in str(caught.value)


def test_a_broken_metric_hides_no_other_mistake(folder):
    (folder / "broken.py").write_text("import nothing_of_this_name\n")
    with pytest.raises(UsageError, match="map"):
        find_metrics(["map"], "single-label")
