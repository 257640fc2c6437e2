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

from vclip_cli.common.errors import UsageError
from vclip_cli.engine.encoding.embedding_files import read_header, read_rows
from vclip_cli.engine.runs.shards import Shard, launched_shard, own_shard
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
EMBED = ("embed", "toy", "--frames", "2", "--batch-size", "16", "--limit", "130", "--json")
RUN = ("run", "-p", "few-shot", "-d", "toy", "--seeds", "1", "--shots", "2", "--batch-size", "2")


def _predictions(folder: str) -> bytes:
    return Path(folder, "toy_test/predictions.parquet").read_bytes()


def _store(folder: str) -> dict[str, bytes]:
    kept = (path for path in Path(folder).iterdir() if path.suffix in (".bin", ".index", ".json"))
    return {path.name: path.read_bytes() for path in kept if path.name != "lock-owner.json"}


def _embeddings(folder: str) -> dict[str, bytes]:
    """Each stored video's values; the folder is a cache with one store in it."""
    shards = [read_header(path) for path in Path(folder).glob("embeddings/*/*.safetensors")]
    rows = [(s, row, video) for s in shards for row, video in enumerate(s.rows.videos)]
    found = {video: read_rows(shard, row).tobytes() for shard, row, video in rows}
    assert len(found) == len(rows), "a video was encoded twice"
    return found


def _launcher(count: int, *arguments: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*launcher, "--nproc-per-node", str(count), "-m", "vclip_cli", *arguments]


def _launch(count: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = _launcher(count, *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


launches = pytest.mark.processes


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_a_shard_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        own_shard(text)


def test_shares_divide_without_padding_or_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2, 3, 7, 40):
        shares = [Shard(index, count).of(range(10)) for index in range(count)]
        assert sorted(part for share in shares for part in share) == list(range(10))
    assert own_shard("2/3") == Shard(1, 3, manual=True)
    assert launched_shard() == Shard(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert launched_shard() == Shard(2, 4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError):
        launched_shard()


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


def test_embedding_in_shards_fills_one_store_that_needs_no_merge(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch, shared_cache: Path
) -> None:
    clips = next(shared_cache.glob("toy-*"), None)
    for cache, shards in (("one", ["1/1"]), ("three", ["3/3", "1/3", "2/3"])):
        Path(cache).mkdir()
        if clips is not None:  # rendered by an earlier test of this session
            Path(cache, clips.name).symlink_to(clips)
        monkeypatch.setenv("VCLIP_CACHE", str(Path(cache).absolute()))
        ran = [vclip(*EMBED, "--shard", shard) for shard in shards]
        assert [one.code for one in ran] == [0] * len(shards), ran[0].err
        assert sum(json.loads(one.out)["encoded"] for one in ran) == 130
    assert _embeddings("three") == _embeddings("one") and len(_embeddings("one")) == 130
    again = json.loads(vclip(*EMBED).out)
    assert (again["encoded"], again["reused"]) == (0, 130)


@launches
def test_processes_of_one_launch_embed_into_one_store(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cache in ("one", "two", "three"):
        monkeypatch.setenv("VCLIP_CACHE", str(Path(cache).absolute()))
        if cache == "one":
            assert vclip(*EMBED).code == 0
            continue
        launched = _launch(2 if cache == "two" else 3, *EMBED)
        assert launched.returncode == 0, launched.stderr
        assert json.loads(launched.stdout)["encoded"] == 130
        assert launched.stderr.count("embedding: 130/130") == 1
        assert _embeddings(cache) == _embeddings("one")
        assert not list(Path(cache).rglob("done-*"))
    few = _launch(3, *EMBED[:-2], "2", "--frames", "3", "--json")  # two of three have nothing to do
    assert few.returncode == 0, few.stderr
    assert json.loads(few.stdout)["encoded"] == 2


@launches
def test_a_note_of_a_killed_launch_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCLIP_CACHE", str(Path("cache").absolute()))
    planned = _launch(1, *EMBED, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    folder = Path(json.loads(planned.stdout)["folder"])
    folder.mkdir(parents=True)
    folder.joinpath("done-2-of-2.json").write_text('{"reused": 0, "encoded": 9, "failures": []}')
    launched = _launch(2, *EMBED)
    assert launched.returncode == 0, launched.stderr
    assert json.loads(launched.stdout)["encoded"] == 130


@launches
def test_a_whole_run_on_several_processes(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch, own_home: Path
) -> None:
    fitted = (*RUN, "--methods", "clip,tip-adapter,linear-probe", "--limit", "70")
    trained = (*RUN, "--methods", "vita-clip,vl-prompt", "--limit", "15", "--set", "steps=4")
    trained += ("--set", "batch_size=5", "--set", "learning_rate=4e-4", "--set", "epsilon=1e-6")
    for count in (1, 2, 3):
        monkeypatch.setenv("VCLIP_CACHE", str(own_home / f"cache{count}"))
        for what, run in (("fitted", fitted), ("trained", trained)):
            out = ("--out", f"{what}{count}", "--json")
            if count == 1:
                assert vclip(*run, *out).code == 0
                continue
            launched = _launch(count, *run, *out)
            assert launched.returncode == 0, launched.stderr
            jobs = json.loads(launched.stdout)["results"]
            assert [job["method"] for job in jobs] == run[run.index("--methods") + 1].split(",")
            assert all(test["scored"] for job in jobs for test in job["tests"])
            assert launched.stderr.count("scoring toy/test: ") == len(jobs)
            assert not list(Path(f"{what}{count}").rglob("parts"))
        if count > 1:
            _same_runs(count)


def _same_runs(count: int) -> None:
    predictions = sorted(Path("fitted1").rglob("predictions.parquet"))
    assert len(predictions) == 3
    for path in predictions:
        other = Path(f"fitted{count}", *path.parts[1:])
        assert other.read_bytes() == path.read_bytes(), other
    checkpoints = sorted(Path("trained1").rglob("checkpoint.safetensors"))
    assert len(checkpoints) == 3  # and the first stage of vl-prompt
    for path in checkpoints:
        one, many = load_file(path), load_file(Path(f"trained{count}", *path.parts[1:]))
        for name in one:
            a, b = one[name], many[name]
            if name.endswith("attn.in_proj_bias"):  # that of the keys has no gradient but noise
                a, b = (np.delete(x, np.s_[len(x) // 3 : 2 * len(x) // 3]) for x in (a, b))
            np.testing.assert_allclose(b, a, atol=1e-5, rtol=0, err_msg=name)


@launches
def test_processes_of_one_launch_evaluate_and_extract_to_the_same_bytes(vclip: Callable) -> None:
    assert vclip(*EVAL, "--out", "whole").code == 0
    assert vclip(*EXTRACT, "--out", "store").code == 0
    for count in (2, 3):
        launched = _launch(count, *EVAL, "--out", f"run{count}", "--json")
        assert launched.returncode == 0, launched.stderr
        assert json.loads(launched.stdout)["results"][0]["test"] == "toy/test"
        assert _predictions(f"run{count}") == _predictions("whole")
        record = read_record(Path(f"run{count}/toy_test/record.json"))
        assert record.compute.world_size == count
        assert launched.stderr.count("scoring toy/test: 130/130") == 1
        extracted = _launch(count, *EXTRACT, "--out", f"store{count}")
        assert extracted.returncode == 0, extracted.stderr
        assert _store(f"store{count}") == _store("store")


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


TRAIN = (
    "train", "-p", "few-shot", "-d", "toy", "-m", "vita-clip", "--seed", "1", "--shots", "2",
    "--limit", "15", "--set", "batch_size=5", "--batch-size", "2",
    "--set", "learning_rate=4e-4", "--set", "epsilon=1e-6",  # the paper's rate
)  # fmt: skip


@launches
@pytest.mark.parametrize(
    ("verb", "sign"),
    [
        (EVAL, "run/log-2-of-2.jsonl"),
        ((*TRAIN, "--save-every", "2", "--set", "steps=2000"), "run/resume.pt"),
        (
            (*RUN, "--methods", "vita-clip", "--limit", "15", "--set", "steps=4"),
            "run/toy_vita-clip_2shots_seed1/test/log-2-of-2.jsonl",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_a_killed_process_ends_the_others_with_an_error(verb: tuple[str, ...], sign: str) -> None:
    command = _launcher(2, *verb, "--out", "run")
    launch = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    mine = f"/proc/{launch.pid}/task/{launch.pid}/children"
    deadline = time.monotonic() + 120
    while not Path(sign).exists():
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
    train = (*TRAIN, "--set", "steps=10")
    assert vclip(*train, "--out", "one").code == 0
    for count in (2, 3):
        launched = _launch(count, *train, "--out", f"of{count}", "--json")
        assert launched.returncode == 0, launched.stderr
        assert json.loads(launched.stdout)["steps"] == 10
        one, many = (load_file(f"{f}/checkpoint.safetensors") for f in ("one", f"of{count}"))
        for name in one:
            np.testing.assert_allclose(many[name], one[name], atol=1e-5, rtol=0, err_msg=name)
