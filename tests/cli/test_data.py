from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_clips import write_clip
from make_datasets import write_hmdb, write_videos


@pytest.fixture
def clips(own_home: Path) -> Path:
    for name in ("train/pour/a", "train/kick/b", "test/pour/c", "test/kick/#d [1]"):
        path = Path("clips") / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_clip(path, frames=len(name))
    return Path("clips")


def test_own_videos_are_registered_listed_and_checked(vclip, clips):
    ran = vclip("data", "add", "mine", "--videos", clips, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert (document["format"], document["listed"], document["absent"]) == ("class_folders", 4, 0)
    assert document["splits"]["train"] == {"listed": 2, "present": 2, "classes": 2}
    assert Path(".vclip/label_sets/mine.yaml").is_file()
    assert "label_sets/mine.yaml" in ran.err
    listed = json.loads(vclip("data", "list", "--json").out)["datasets"]
    assert [entry["name"] for entry in listed] == [
        "mine", "toy", "toy-shapes", "toy-multi",
    ]  # fmt: skip
    checked = vclip("data", "check", "mine", "--json")
    assert checked.code == 0, checked.err
    assert json.loads(checked.out)["sound"]


def test_a_check_finds_what_changed_and_exits_with_4(vclip, clips):
    vclip("data", "add", "mine", "--videos", clips, "--annotations", write_list())
    (clips / "train/pour/a.mp4").write_bytes(b"no video at all")
    (clips / "train/kick/b.mp4").unlink()
    (clips / "test/pour/c.mp4").write_bytes(b"")
    ran = vclip("data", "check", "mine", "--full", "--json")
    assert ran.code == 4
    report = json.loads(ran.out)
    assert report["absent"] == ["kick/b"]
    assert list(report["unreadable"]) == ["train/pour/a.mp4"]
    assert report["empty"] == ["test/pour/c.mp4"]
    assert report["unlisted"] == ["test/kick/#d [1].mp4"]
    table = vclip("data", "check", "mine")
    assert "listed, but not on disk" in table.out
    assert "kick/b" in table.out


def write_list() -> Path:
    Path("list.csv").write_text(
        "path,class\npour/a.mp4,pour\nkick/b.mp4,kick\npour/c.mp4,pour\n", encoding="utf-8"
    )
    return Path("list.csv")


def test_adding_tells_what_is_missing_and_what_is_too_much(vclip):
    write_hmdb(Path("ann"))
    write_videos(Path("videos"), ["pour/stranger.avi"])
    ran = vclip("data", "add", "hmdb51", "--videos", "videos", "--annotations", "ann")
    assert ran.code == 0
    assert "listed, but not on disk: 459" in ran.err
    assert "on disk, but not listed: 1 (pour/stranger.avi)" in ran.err
    again = vclip("data", "add", "hmdb51", "--no-videos", "--annotations", "ann")
    assert "registered again" in again.err
    assert "no videos" in vclip("data", "list").out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["add", "x"], 2, "--no-videos"),
        (["add", "x", "--videos", "v", "--no-videos"], 2, "exclude"),
        (["add", "x", "--videos", "nowhere"], 4, "nowhere"),
        (["add", "a/b", "--videos", "v"], 2, "not a name"),
        (["add", "toy", "--videos", "v"], 2, "embedded"),
        (["add", "x", "--videos", "v", "--labels", "hmdb5"], 2, "did you mean 'hmdb51'"),
        (["add", "x", "--videos", "v", "--labels", "hmdb51"], 4, "unknown class 'puor'"),
        (["add", "x", "--no-videos", "--annotations", "bad.txt"], 4, "bad.txt:2"),
        (["check", "nobody"], 2, "unknown dataset 'nobody'"),
    ],
)
def test_errors_are_one_clear_message(vclip, arguments, code, says):
    write_videos(Path("v"), ["puor/a.mp4"])
    Path("bad.txt").write_text("a.mp4 pour\n../b.mp4 pour\n", encoding="utf-8")
    ran = vclip("data", *arguments)
    assert (ran.code, ran.out) == (code, "")
    assert says in ran.err
    assert not Path(".vclip/datasets").exists()


def test_a_broken_dataset_does_not_hide_the_others(vclip, clips):
    vclip("data", "add", "mine", "--videos", clips)
    vclip("data", "add", "other", "--videos", clips)
    Path(".vclip/datasets/other.yaml").write_text("name: other\n", encoding="utf-8")
    ran = vclip("data", "list")
    assert ran.code == 0
    assert "mine" in ran.out
    assert "other" in ran.err


def test_protocols_are_listed_and_shown(vclip):
    names = {row["name"] for row in json.loads(vclip("protocols", "--json").out)["protocols"]}
    assert {"zero-shot", "few-shot", "base-to-novel", "supervised", "multi-label"} <= names
    shown = json.loads(vclip("protocols", "base-to-novel", "--json").out)
    assert shown["recipes"]["vl-prompt"]["optimizer"]["learning_rate"] == 0.04
    table = vclip("protocols", "few-shot")
    assert "ucf101" in table.out
    assert vclip("protocols", "fewshot").code == 2
