"""Several processes and shards: the same bytes as one, whatever there is to divide."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from vclip_cli.engine.processes import Share, launched_share, read_shard
from vclip_cli.errors import UsageError
from vclip_cli.results.record import read_record

EVAL = (
    "eval",
    "-d",
    "toy",
    "--split",
    "test",
    "--batch-size",
    "16",
    "--limit",
    "130",
    "--no-cache",
)
EXTRACT = ("extract", "toy", "--frames", "8", "--limit", "30")


def _predictions(folder: str) -> bytes:
    return Path(folder, "toy_test/predictions.parquet").read_bytes()


def _store(folder: str) -> dict[str, bytes]:
    kept = (path for path in Path(folder).iterdir() if path.suffix in (".bin", ".index", ".json"))
    return {path.name: path.read_bytes() for path in kept if path.name != "lock-owner.json"}


def _launch(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(count), "-m", "vclip_cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


launches = pytest.mark.processes


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_shard(text)


def test_shares_divide_without_padding_or_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2, 3, 7, 40):
        shares = [Share(index, count).of(range(10)) for index in range(count)]
        assert sorted(part for share in shares for part in share) == list(range(10))
    assert read_shard("2/3") == Share(1, 3, apart=True)
    assert launched_share() == Share(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched_share() == Share(2, 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError):
        launched_share()


def test_evaluation_in_shards_is_joined_to_the_same_bytes(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "whole").code == 0
    for shard in ("1/3", "3/3"):
        done = vclip(*EVAL, "--out", "run", "--shard", shard)
        assert done.code == 0, done.err
        assert done.out.startswith(f"shard {shard} is done")
    gap = vclip(*EVAL, "--out", "run", "--merge")
    assert gap.code == 4 and "2/3" in gap.err
    assert vclip(*EVAL, "--out", "run", "--shard", "1/2").code == 0
    overlap = vclip(*EVAL, "--out", "run", "--merge")
    assert overlap.code == 4 and "different divisions" in overlap.err
    for path in Path("run").rglob("shard-1-of-2.json"):
        path.unlink()
    assert vclip(*EVAL, "--out", "run", "--shard", "2/3").code == 0
    joined = vclip(*EVAL, "--out", "run", "--merge")
    assert joined.code == 0, joined.err
    assert _predictions("run") == _predictions("whole")
    assert read_record(Path("run/toy_test/record.json")).compute.world_size == 3


def test_extraction_in_shards_is_joined_to_the_same_bytes(vclip: Callable) -> None:
    assert vclip(*EXTRACT, "--out", "whole").code == 0
    for shard in ("2/3", "1/3"):
        assert vclip(*EXTRACT, "--out", "store", "--shard", shard).code == 0
    gap = vclip(*EXTRACT, "--out", "store", "--merge")
    assert gap.code == 4 and "3/3" in gap.err
    assert vclip(*EXTRACT, "--out", "store", "--shard", "3/3").code == 0
    joined = vclip(*EXTRACT, "--out", "store", "--merge", "--json")
    assert joined.code == 0, joined.err
    assert json.loads(joined.out)["stored"] == 30
    assert _store("store") == _store("whole") and len(_store("whole")) >= 3
    assert not list(Path("store").glob("shard-*"))


@launches
def test_processes_of_one_launch_evaluate_and_extract_to_the_same_bytes(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "whole").code == 0
    launched = _launch(3, *EVAL, "--out", "run", "--json")
    assert launched.returncode == 0, launched.stderr
    assert json.loads(launched.stdout)["results"][0]["test"] == "toy/test"
    assert _predictions("run") == _predictions("whole")
    assert read_record(Path("run/toy_test/record.json")).compute.world_size == 3
    assert launched.stderr.count("scoring toy/test: 130/130") == 1


@launches
def test_more_processes_than_clips(vclip: Callable) -> None:
    few = (*EXTRACT[:-1], "2")
    assert vclip(*few, "--out", "whole").code == 0
    launched = _launch(3, *few, "--out", "store")
    assert launched.returncode == 0, launched.stderr
    assert _store("store") == _store("whole")


@launches
def test_two_evaluations_into_one_folder_give_one_sound_run(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "whole").code == 0
    command = [sys.executable, "-m", "vclip_cli", *EVAL, "--out", "run"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=240)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert any("already there" in text for text in said)
    assert _predictions("run") == _predictions("whole")


@launches
def test_two_extractions_into_one_folder_give_one_sound_store(vclip: Callable) -> None:
    extract = ("extract", "toy", "--frames", "4", "--limit", "200")
    assert vclip(*extract, "--out", "whole").code == 0
    command = [sys.executable, "-m", "vclip_cli", *extract, "--out", "store", "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    done = [json.loads(process.communicate(timeout=240)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(one["written"] for one in done) == [0, 200]  # no clip was decoded twice
    assert _store("store") == _store("whole")
    assert vclip(*extract, "--out", "store", "--verify", "--dry-run").code == 0


@launches
def test_a_killed_process_ends_the_others_with_an_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "vclip_cli", *EVAL, "--out", "run"]
    launch = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    mine = f"/proc/{launch.pid}/task/{launch.pid}/children"
    deadline = time.monotonic() + 120
    while not Path("run/log-2-of-2.jsonl").exists():
        assert launch.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    children = [int(pid) for pid in Path(mine).read_text().split()]
    ranks = {
        int(dict(e.split("=", 1) for e in environ.split("\0") if "=" in e)["RANK"]): pid
        for pid in children
        if "RANK=" in (environ := Path(f"/proc/{pid}/environ").read_text())
    }
    os.kill(ranks[1], 9)
    killed = time.monotonic()
    _, err = launch.communicate(timeout=60)
    assert time.monotonic() - killed < 30
    assert launch.returncode != 0
    assert "Signal 9" in err or "SIGKILL" in err


@launches
def test_training_on_two_processes_gives_the_updates_of_one(vclip: Callable) -> None:
    train = (
        "train", "-p", "few-shot", "-d", "toy", "-m", "vita-clip", "--seed", "1", "--shots", "2",
        "--limit", "15", "--set", "steps=10", "--set", "batch_size=5", "--batch-size", "2",
        "--set", "learning_rate=4e-4", "--set", "epsilon=1e-6",  # the paper's rate
    )  # fmt: skip
    assert vclip(*train, "--out", "one").code == 0
    for count in (2, 3):
        launched = _launch(count, *train, "--out", f"of{count}", "--json")
        assert launched.returncode == 0, launched.stderr
        assert json.loads(launched.stdout)["steps"] == 10
        one, many = (load_file(f"{f}/checkpoint.safetensors") for f in ("one", f"of{count}"))
        for name in one:
            np.testing.assert_allclose(many[name], one[name], atol=1e-5, rtol=0, err_msg=name)
