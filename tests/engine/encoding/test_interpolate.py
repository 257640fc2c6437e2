"""`--interpolate`: between the original and the tuned weights, at evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vclip_cli.results.predictions import read_predictions
from vclip_cli.results.record import read_record

LIMIT = ("--limit", 6)


def _train(vclip: Callable, method: str, *more: object) -> Path:
    run = (
        "train", "-p", "few-shot", "-d", "toy", "--shots", 2, "--seed", 1, "-m", method,
        "--limit", 8, "--set", "steps=1", "--set", "batch_size=8", "--out", method, *more,
    )  # fmt: skip
    ran = vclip(*run)
    assert ran.code == 0, ran.err
    return Path(method) / "checkpoint.safetensors"


def _scores(vclip: Callable, out: str, *more: object) -> np.ndarray:
    ran = vclip("eval", "-p", "few-shot", "-d", "toy", *LIMIT, "--out", out, *more)
    assert ran.code == 0, ran.err
    return read_predictions(Path(out) / "toy_test" / "predictions.parquet").scores


def test_the_ends_are_clip_and_the_checkpoint(vclip: Callable) -> None:
    rate = ("--set", "learning_rate=1e-3")
    tuned = ("--checkpoint", _train(vclip, "vifi-clip", *rate))
    whole = _scores(vclip, "whole", *tuned)
    found = {
        alpha: _scores(vclip, str(alpha), *tuned, "--interpolate", alpha) for alpha in (0, 0.5, 1)
    }
    assert (found[1] == whole).all()
    plain = _scores(vclip, "clip", "--backbone", "toy")
    np.testing.assert_allclose(found[0], plain, atol=1e-6)
    assert np.abs(found[0.5] - whole).max() > 1e-4 < np.abs(found[0.5] - plain).max()
    record = read_record(Path("0.5/toy_test/record.json"))
    [override] = [entry for entry in record.overrides if entry.field == "interpolate"]
    assert (override.protocol, override.used) == (1, 0.5)
    assert record.config["interpolate"] == 0.5
    again = vclip("eval", "-p", "few-shot", "-d", "toy", *LIMIT, "--out", "0.5", *tuned)
    assert again.code == 2  # another run, and the folder is taken
    assert "other settings" in again.err
    table = vclip("table", "0.5", "whole", "--partial", "--format", "md").out
    assert "interpolate: 0.5 instead of" in table
    assert table.count("| vifi-clip |") == 2


@pytest.mark.parametrize("alpha", [-0.1, 1.1, "nan", "half"])
def test_only_shares_are_taken(vclip: Callable, alpha: object) -> None:
    assert vclip("eval", "-d", "toy", "--interpolate", alpha, "--checkpoint", "x").code == 2


def test_a_method_that_cannot_refuses(vclip: Callable) -> None:
    checkpoint = _train(vclip, "vita-clip")
    run = ("eval", "-p", "few-shot", "-d", "toy", *LIMIT, "--interpolate", 0.5)
    ran = vclip(*run, "--checkpoint", checkpoint)
    assert ran.code == 2
    assert "'vita-clip' cannot be interpolated" in ran.err
    assert "vifi-clip" in ran.err
    ran = vclip(*run)
    assert ran.code == 2
    assert "--checkpoint" in ran.err
