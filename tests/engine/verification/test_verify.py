"""`vclip verify` catches whatever a record's files have become, and says how far a number moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vclip_cli.common.files import write_json
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder
from vclip_cli.results.predictions import read_predictions, write_predictions
from vclip_cli.results.record import read_record

EVAL = ("eval", "--protocol", "zero-shot", "--backbone", "toy")


def statuses(vclip: Callable, *arguments: object, code: int = 0) -> dict[str, str]:
    """What `vclip verify --json` says of the first record: check to status."""
    ran = vclip("verify", *arguments, "--json")
    assert ran.code == code, ran.err
    document = json.loads(ran.out)
    assert document["matches"] == (code == 0)
    return {check["what"]: check["status"] for check in document["records"][0]["checks"]}


def differing(found: dict[str, str]) -> set[str]:
    return {what for what, status in found.items() if status == "differs"}


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that asks for `own` leaves a copy of it."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture
def own(vclip: Callable, made_once: Path) -> Path:
    """The folder of an evaluation of a person's own eight videos."""
    config = Path(".vclip/datasets/mine.yaml")
    if list(made_once.iterdir()):
        shutil.copytree(made_once, ".", dirs_exist_ok=True)
        before = config.read_text(encoding="utf-8").partition("videos: ")[2].splitlines()[0]
        text = config.read_text(encoding="utf-8").replace(before, str(Path("my_videos").resolve()))
        config.write_text(text, encoding="utf-8")
        return Path("runs/mine/mine_all")
    rows = open_dataset("toy").manifest.rows.groupby("class").head(2).head(8)
    prepare_videos("toy", rows["video"].tolist())
    for path, name in zip(rows["path"], rows["class"], strict=True):
        target = Path("my_videos") / name / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(toy_folder() / path, target)
    assert vclip("data", "add", "mine", "--videos", "my_videos").code == 0
    assert vclip(*EVAL, "-d", "mine", "--frames", 4, "--out", "runs/mine").code == 0
    shutil.copytree(".", made_once, dirs_exist_ok=True)
    return Path("runs/mine/mine_all")


def test_a_fresh_record_matches_and_comes_out_again(vclip: Callable, own: Path) -> None:
    found = statuses(vclip, own)
    assert set(found.values()) == {"match"}
    assert set(found) == {
        "predictions", "scored videos", "metrics", "protocol", "manifest", "label set", "prompts",
        "test list", "listed videos", "backbone weights",
    }  # fmt: skip
    ran = vclip("verify", own, "--rerun")
    assert ran.code == 0, ran.err
    assert "the same predictions to the byte" in ran.out
    assert "matches: " in ran.out
    assert not list(Path().glob("vclip-verify-*"))


def test_a_changed_prediction(vclip: Callable, own: Path) -> None:
    file = own / "predictions.parquet"
    old = read_predictions(file)
    write_predictions(file, old.videos, old.labels, old.scores[:, ::-1], old.classes)
    assert differing(statuses(vclip, own, code=4)) == {"predictions", "metrics"}
    ran = vclip("verify", own)
    assert ran.code == 4
    assert "the record states" in ran.out
    file.unlink()
    assert differing(statuses(vclip, own, code=4)) == {"predictions"}


def test_a_changed_label_text(vclip: Callable, own: Path) -> None:
    path = Path(".vclip/label_sets/mine.yaml")
    name = read_record(own / "record.json").dataset.classes[0]
    text = path.read_text(encoding="utf-8")
    changed = text.replace(f"name: {name}\n", f"name: {name}\n  texts: {{natural: another}}\n", 1)
    assert changed != text
    path.write_text(changed, encoding="utf-8")
    found = statuses(vclip, own, code=4)
    assert {"label set", "prompts"} <= differing(found)
    assert found["predictions"] == found["test list"] == "match"
    assert "another" in vclip("verify", own).out


def test_a_changed_list_of_videos(vclip: Callable, own: Path) -> None:
    next(Path("my_videos").rglob("*.mp4")).unlink()
    found = differing(statuses(vclip, own, code=4))
    assert {"manifest", "test list", "listed videos"} <= found


def test_a_changed_split_file(vclip: Callable) -> None:
    split = ("split", "toy", "-p", "zero-shot", "--out", "splits")
    assert vclip(*split).code == 0
    file = Path("splits/toy/zero-shot/zero-shot.csv")
    assert file.is_file()
    run = ("-d", "toy", "--split", file, "--limit", 6, "--out", "runs/listed")
    assert vclip(*EVAL, *run).code == 0
    [folder] = [path.parent for path in Path("runs/listed").rglob("record.json")]
    assert statuses(vclip, folder)["test list"] == "match"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:-1]))
    assert "test list" in differing(statuses(vclip, folder, code=4))
    file.unlink()
    assert statuses(vclip, folder)["test list"] == "not checked"


def test_other_weights(vclip: Callable, own: Path) -> None:
    found = statuses(vclip, own, "--pretrained", "random:7", code=4)
    assert differing(found) == {"backbone weights"}
    assert statuses(vclip, own, "--pretrained", "gone.safetensors")["backbone weights"] == (
        "not checked"
    )
    ran = vclip("verify", own, "--rerun", "--pretrained", "random:7", "--tolerance", 0)
    assert ran.code == 4


def test_another_protocol_version(vclip: Callable, own: Path) -> None:
    import vclip_cli.common.resources as resources

    folder = Path(".vclip/protocols")
    folder.mkdir(parents=True)
    text = (resources.shipped_folder("protocols") / "zero-shot.yaml").read_text(encoding="utf-8")
    newer = text.replace("version: 1", "version: 2", 1)
    (folder / "zero-shot.yaml").write_text(newer, encoding="utf-8")
    assert differing(statuses(vclip, own, code=4)) == {"protocol"}
    assert "version 2" in vclip("verify", own).out


def test_a_number_that_moved_is_named(vclip: Callable, own: Path) -> None:
    path = own / "record.json"
    values = json.loads(path.read_text())
    values["metrics"]["top1"].update(value=values["metrics"]["top1"]["value"] + 0.05, high=100)
    write_json(path, values)
    ran = vclip("verify", own, "--rerun")
    assert ran.code == 4  # the metrics are not those of the predictions
    assert "moved by -0.0500, within the tolerance of 0.1" in ran.out
    strict = vclip("verify", own, "--rerun", "--tolerance", 0.01)
    assert "beyond the tolerance of 0.01" in strict.out


def test_what_is_not_here_is_not_checked(vclip: Callable, own: Path) -> None:
    shutil.rmtree(".vclip")
    found = statuses(vclip, own)
    assert found["dataset"] == "not checked"
    assert found["predictions"] == found["protocol"] == "match"


def test_a_checkpoint_and_its_training_list(vclip: Callable) -> None:
    small = ("--dataset", "toy", "--limit", 8, "--set", "steps=1", "--set", "batch_size=8")
    train = ("train", "-p", "few-shot", "--shots", 2, "--seed", 1, "-m", "vifi-clip", *small)
    assert vclip(*train, "--out", "runs/train").code == 0
    checkpoint = Path("runs/train/checkpoint.safetensors")
    run = ("eval", "-p", "few-shot", "-d", "toy", "--checkpoint", checkpoint, "--limit", 6)
    assert vclip(*run, "--interpolate", 0.5, "--out", "runs/test").code == 0
    found = statuses(vclip, "runs/test", "--rerun")
    assert found["checkpoint"] == found["training list"] == "match"
    lines = Path("runs/train/train.csv").read_text().splitlines(keepends=True)
    Path("runs/train/train.csv").write_text("".join(lines[:-1]))
    assert differing(statuses(vclip, "runs/test", code=4)) == {"training list"}
    other = ("--seed", 2, "--out", "runs/other")
    assert vclip(*train, *other).code == 0
    named = ("--checkpoint", "runs/other/checkpoint.safetensors")
    assert differing(statuses(vclip, "runs/test", *named, code=4)) == {"checkpoint"}
    checkpoint.unlink()
    assert statuses(vclip, "runs/test")["checkpoint"] == "not checked"
    assert vclip("verify", "runs/test", "--rerun").code == 4
    assert vclip("verify", "runs/test", "--checkpoint", "gone.safetensors").code == 2


def test_bad_input(vclip: Callable) -> None:
    assert vclip("verify", "nothing").code == 4
    Path("record.json").write_text("{")
    ran = vclip("verify", "record.json")
    assert ran.code == 4
    assert "not valid JSON" in ran.err
