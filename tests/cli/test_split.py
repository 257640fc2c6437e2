from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from make_datasets import hmdb_name, write_hmdb, write_kinetics

from vclip_cli.data.dataset import add_dataset
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.split import read_split


@pytest.fixture
def hmdb51(own_home: Path) -> None:
    add_dataset("hmdb51", annotations=write_hmdb(Path("ann")))


def write_list(class_name: str, numbers: list[int]) -> Path:
    path = Path("list.txt")
    lines = [f"{hmdb_name(class_name, number)}.avi 0\n" for number in numbers]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_few_shot_lists_are_written_named_and_verified(vclip, hmdb51):
    ran = vclip("split", "hmdb51", "--protocol", "few-shot", "--shots", 2, "--seed", 0, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    train, test = document["files"]
    assert (train["part"], train["videos"], train["classes"]) == ("train", 102, 51)
    assert (test["part"], test["videos"]) == ("test-1", 153)
    assert train["path"] == "splits/hmdb51/few-shot/train_2-shot_seed-0.csv"
    assert read_split(Path(train["path"])).sha256 == train["sha256"]
    verified = vclip("split", "--verify", train["path"])
    assert (verified.code, "matches" in verified.out) == (0, True)
    shown = vclip("split", "--show", train["path"], "--json")
    assert json.loads(shown.out)["videos_per_class"] == {"fewest": 2, "most": 2}


def test_the_table_names_every_file(vclip, hmdb51):
    ran = vclip("split", "hmdb51", "-p", "base-to-novel", "--shots", 4, "--out", "elsewhere")
    assert ran.code == 0
    files = sorted(Path("elsewhere/hmdb51/base-to-novel").glob("*.csv"))
    assert [path.stem for path in files] == [
        "test-1_base", "test-1_novel", "train_base_4-shot_seed-1",
    ]  # fmt: skip
    assert all(str(path) in ran.out for path in files)


def test_a_tampered_split_is_told_apart_with_exit_code_6(vclip, hmdb51):
    vclip("split", "hmdb51", "-p", "few-shot", "--shots", 2, "--seed", 3)
    path = Path("splits/hmdb51/few-shot/train_2-shot_seed-3.csv")
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join([*lines[:-1]]), encoding="utf-8")
    ran = vclip("split", "--verify", path, "--json")
    assert ran.code == 6
    document = json.loads(ran.out)
    assert not document["matches"]
    assert any("not in the file" in line for line in document["differences"])
    assert "altered" in vclip("split", "--show", path).err


def test_a_training_list_that_overlaps_a_test_split_is_refused(vclip, hmdb51):
    path = write_list("pour", [0, 1, 2, 5])
    ran = vclip("split", "hmdb51", "--from-list", path, "--against", "test-1")
    assert ran.code == 0, ran.err
    ran = vclip("split", "hmdb51", "--from-list", path, "--against", "test-2")
    assert ran.code == 6
    assert "3 of 4 training videos" in ran.err
    ran = vclip(
        "split", "hmdb51", "--from-list", path, "--against", "test-2", "--allow-overlap", "--json"
    )
    assert ran.code == 0
    document = json.loads(ran.out)
    assert document["overlaps"][0]["shared"] == 3
    written = read_split(Path(document["files"][0]["path"]))
    assert written.provenance.overlaps_allowed[0].test == "test-2"
    again = vclip("split", "--verify", document["files"][0]["path"], "--from-list", path)
    assert again.code == 0
    ran = vclip("split", "hmdb51", "--from-list", path, "--against", document["files"][0]["path"])
    assert ran.code == 6


def test_an_imported_list_is_held_against_the_protocols_tests(vclip, hmdb51):
    ran = vclip("split", "hmdb51", "-p", "few-shot", "--from-list", write_list("pour", [0, 7]))
    assert ran.code == 6
    assert "1 of 2 training videos" in ran.err
    ran = vclip("split", "hmdb51", "-p", "few-shot", "--from-list", write_list("pour", [0, 1]))
    assert ran.code == 0
    assert "test-1" in ran.out
    assert Path("splits/hmdb51/few-shot/train_list.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ([], 2, "no dataset"),
        (["hmdb51"], 2, "--protocol is missing"),
        (["hmdb15", "-p", "few-shot"], 2, "did you mean 'hmdb51'"),
        (["hmdb51", "-p", "few-shit"], 2, "did you mean 'few-shot'"),
        (["hmdb51", "-p", "few-shot"], 2, "--shots 2|4|8|16"),
        (["hmdb51", "-p", "few-shot", "--shots", "7"], 4, "51 of 51 classes have fewer than 7"),
        (["hmdb51", "-p", "few-shot", "--shots", "0"], 2, "--shots"),
        (["hmdb51", "-p", "zero-shot", "--shots", "2"], 2, "does not train on"),
        (["hmdb51", "-p", "multi-label"], 2, "multi-label"),
        (["hmdb51", "--from-list", "nowhere.txt"], 4, "nowhere.txt"),
        (["hmdb51", "-p", "zero-shot", "--against", "test-1"], 2, "--against"),
        (["--verify", "nowhere.csv"], 4, "nowhere.csv"),
        (["hmdb51", "--show", "x.csv"], 2, "no dataset"),
    ],
)
def test_errors_are_one_clear_message(vclip, hmdb51, arguments, code, says):
    ran = vclip("split", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert "Traceback" not in ran.err


def test_the_embedded_benchmark_can_be_split(vclip):
    ran = vclip("split", "toy", "-p", "zero-shot", "--json")
    assert ran.code == 0, ran.err
    parts = {entry["part"]: entry["classes"] for entry in json.loads(ran.out)["files"]}
    assert parts["zero-shot"] == 14


def write_kinetics600(folder: Path, count: int) -> Path:
    names = load_label_set("kinetics600").names
    rows = [(names[n % 600], f"{n:09d}-x") for n in range(count)]
    cut = count - count // 13
    return write_kinetics(folder, {"train": rows[:cut], "val": rows[cut:]})


def test_400000_rows_take_seconds_less_than_a_gigabyte_and_no_torch(own_home: Path):
    write_kinetics600(Path("ann"), 400_000)
    code = (
        "import resource, sys, time\n"
        "from vclip_cli.__main__ import run\n"
        "assert run(['data', 'add', 'kinetics600', '--no-videos', '--annotations', 'ann']) == 0\n"
        "options = ['-p', 'few-shot', '--shots', '16', '--seed', '1']\n"
        "assert run(['split', 'kinetics600', *options]) == 0\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "# ru_maxrss would count the process that started this one, before it became another\n"
        "peak = [line for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
        "heavy = {'torch', 'cv2', 'av', 'open_clip'} & set(sys.modules)\n"
        "seconds, megabytes = usage.ru_utime + usage.ru_stime, int(peak[0].split()[1]) / 1024\n"
        "print('measured', seconds, megabytes, heavy)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, seconds, megabytes, heavy = ran.stdout.splitlines()[-1].split(" ", 3)
    assert heavy == "set()"
    assert float(megabytes) < 1024
    assert float(seconds) < 12, "6 seconds are wanted on a quiet machine"
    rows = read_split(Path("splits/kinetics600/few-shot/train_16-shot_seed-1.csv")).rows
    assert len(rows) == 9600


def test_help_loads_neither_torch_nor_pandas():
    code = (
        "import sys\n"
        "from vclip_cli.__main__ import run\n"
        "run(['split', '--help'])\n"
        "print('loaded', {'torch', 'pandas', 'pyarrow', 'yaml'} & set(sys.modules))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "loaded set()"
