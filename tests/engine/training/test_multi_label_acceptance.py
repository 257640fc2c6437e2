"""What `ov-multilabel` learns on `toy-multi`, with a random language model: some two minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_language_model import write_tiny_language_model

from vclip_cli.results.record import read_record

TESTS = ("-p", "multi-label", "-d", "toy-multi")


def _map(folder: str, part: str) -> float:
    return read_record(Path(folder, f"toy-multi_test_{part}/record.json")).metrics["map"].value


@pytest.mark.slow
def test_it_beats_clip_on_seen_labels_and_is_not_below_on_unseen_ones(vclip: Callable) -> None:
    model = write_tiny_language_model(Path("lm").absolute())
    trained = vclip(
        "train", *TESTS, "-m", "ov-multilabel", "--seed", 1, "--out", "run",
        "--set", f"language_model={model}",
    )  # fmt: skip
    assert trained.code == 0, trained.err
    assert vclip("eval", *TESTS, "--out", "plain").code == 0
    checkpoint = ("--checkpoint", "run/checkpoint.safetensors")
    assert vclip("eval", *TESTS, *checkpoint, "--out", "trained").code == 0
    assert _map("trained", "seen") >= _map("plain", "seen") + 15
    assert _map("trained", "unseen") >= _map("plain", "unseen")
