"""What `--dry-run` says of Kinetics-600 at 64 processes, and what they would really do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vclip_cli.data.dataset import load_dataset
from vclip_cli.data.label_set import load_label_set
from vclip_cli.engine.runs.parts import Division
from vclip_cli.engine.runs.shards import Shard, Workload

PROCESSES = 64
OWN = """
name: all-of-it
version: 1
title: t
source: s
frames: 8
metrics: [top1]
test:
  - {dataset: kinetics600, split: train}
"""


@pytest.fixture(params=[4_000, pytest.param(400_000, marks=pytest.mark.slow)])
def kinetics600(vclip: Callable, request: pytest.FixtureRequest) -> list[str]:
    """A training list of Kinetics-600 in its official form, made up; no video is there."""
    names = load_label_set("kinetics600").names
    rows = (
        f'"{names[n % len(names)]}",{n:011d},{n % 300},{n % 300 + 10},train\n'
        for n in range(request.param)
    )
    Path("lists").mkdir()
    Path("videos").mkdir()
    header = "label,youtube_id,time_start,time_end,split\n"
    Path("lists/train.csv").write_text(header + "".join(rows))
    added = vclip("data", "add", "kinetics600", "--videos", "videos", "--annotations", "lists")
    assert added.code == 0, added.err
    return load_dataset("kinetics600").manifest.rows["video"].tolist()


def test_every_process_is_told_the_clips_that_it_would_do(
    vclip: Callable, kinetics600: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(".vclip/protocols/all-of-it.yaml").parent.mkdir(exist_ok=True)
    Path(".vclip/protocols/all-of-it.yaml").write_text(OWN)
    clips = len(kinetics600)
    plan = ("--dry-run", "--rate", 25, "--shard", f"1/{PROCESSES}")
    shares = [Shard(index, PROCESSES) for index in range(PROCESSES)]

    ran = vclip("extract", "kinetics600", *plan, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    work = document["work"]
    assert work["videos_per_process"] == [len(share.of(kinetics600)) for share in shares]
    assert sum(work["videos_per_process"]) == clips == document["clips"]
    assert work["seconds"] == pytest.approx(-(-clips // PROCESSES) / 25)

    batch = 24  # whole batches make parts of 72 videos
    division = Division(clips, batch)
    assert division.size == 72
    real = [len(division.positions_of(share)) for share in shares]
    small = ("--backbone", "toy", "--batch-size", batch)
    ran = vclip("embed", "kinetics600", *small, "--frames", 8, *plan)
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["work"]["videos_per_process"] == real
    assert sum(real) == clips and document["work"]["seconds"] == max(real) / 25
    assert document["bytes_to_add"] == clips * document["bytes_a_video"]

    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", str(PROCESSES))
    ran = vclip("eval", "-d", "kinetics600", "-p", "all-of-it", *small, *plan[:-2])
    assert ran.code == 0, ran.err
    [document] = json.loads(ran.out)["plans"]
    scored = [
        sum(min(72, clips - start) for start in share.of(range(0, clips, 72))) for share in shares
    ]
    assert document["work"]["videos_per_process"] == scored == real
    assert document["tests"][0]["bytes_of_scores"] == clips * 600 * 4
    monkeypatch.setenv("RANK", "5")
    assert vclip("eval", "-d", "toy", "--dry-run").out == "", "one process speaks for all"


def test_few_videos_leave_processes_without_any() -> None:
    assert Division(130, 16).videos_per_process(3) == [64, 64, 2]
    assert Division(3, 8).videos_per_process(4) == [3, 0, 0, 0]
    assert Division(0, 8).videos_per_process(2) == [0, 0]


def test_the_time_is_that_of_the_process_with_the_most() -> None:
    assert str(Workload([3, 2], 0.5)) == (
        "2 processes, 2 to 3 each: 6.0 seconds at 0.5 a second and process"
    )
    assert str(Workload([6250] * 64, 0.25)) == (
        "64 processes, 6,250 each: 6.9 hours at 0.25 a second and process"
    )
    assert str(Workload([7])) == "one process, 7 videos"
    assert Workload([7]).seconds is None


def test_the_rate_of_a_sample_is_told(vclip: Callable) -> None:
    extract = ("extract", "toy", "--frames", "8", "--limit", "12", "--out", "frames", "--dry-run")
    work = json.loads(vclip(*extract, "--json", "--shard", "2/5").out)["work"]
    assert work["videos_per_process"] == [3, 3, 2, 2, 2]
    assert work["seconds"] == pytest.approx(3 / work["videos_per_second_of_one"])
    assert "5 processes, 2 to 3 each: " in vclip(*extract, "--shard", "2/5").out
    for verb in (extract[:-1], ("embed", "toy"), ("eval", "-d", "toy")):
        assert vclip(*verb, "--rate", 5).code == 2
