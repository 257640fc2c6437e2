"""A protocol of one's own with a metric of one's own: evaluated, recorded, shown and verified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vclip_cli.results.record import read_record

METRIC = """
from vclip_cli.results.metric import Metric


class Confidence(Metric):
    name = "confidence"
    title = "mean confidence"
    kinds = ("single-label",)

    def value(self, scored):
        return float(scored.scores.max(axis=1).mean())
"""
PROTOCOL = """
name: mine
version: 1
title: t
source: s
frames: 8
metrics: [confidence, top1]
test:
  - {dataset: toy, split: test, classes: base}
"""


def test_a_metric_and_a_protocol_of_ones_own(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("own/metrics", "own/protocols"):
        Path(folder).mkdir(parents=True)
    Path("own/metrics/confidence.py").write_text(METRIC)
    Path("own/protocols/mine.yaml").write_text(PROTOCOL)
    monkeypatch.setenv("VCLIP_PATH", "own")
    ran = vclip("eval", "-p", "mine", "-d", "toy", "--limit", 6, "--out", "run")
    assert ran.code == 0, ran.err
    (path,) = Path("run").rglob("record.json")
    record = read_record(path)
    assert list(record.metrics) == ["confidence", "top1"]
    assert record.protocol.metrics == ["confidence", "top1"]
    assert record.protocol.aggregate is not None and record.protocol.aggregate.over == []
    shown = vclip("table", "run", "--partial", "--format", "md")
    assert "mean confidence | toy top-1" in shown.out
    assert "confidence, top1 computed again" in vclip("verify", "run").out
    Path("own/metrics/confidence.py").write_text(METRIC.replace("mean()", "min()"))
    changed = vclip("eval", "-p", "mine", "-d", "toy", "--limit", 6, "--out", "run")
    assert changed.code == 2 and "differs in metrics" in changed.err
    Path("own/metrics/confidence.py").write_text(METRIC.replace("max(axis=1)", "no_such()"))
    assert vclip("eval", "-p", "mine", "-d", "toy", "--limit", 6, "--out", "other").code == 3
    Path("own/protocols/mine.yaml").write_text(PROTOCOL.replace("top1", "map"))
    ran = vclip("eval", "-p", "mine", "-d", "toy", "--limit", 6, "--out", "other")
    assert ran.code == 2 and "not for single-label protocols" in ran.err
