from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml
from make_datasets import AWKWARD, hmdb_name, write_hmdb, write_kinetics, write_videos

from vclip_cli.common.errors import DataError, SpecError, UsageError
from vclip_cli.data.dataset import add_dataset, list_datasets, load_dataset
from vclip_cli.data.label_set import load_label_set


def touch_later(folder: Path) -> None:
    facts = folder.stat()
    os.utime(folder, ns=(facts.st_atime_ns, facts.st_mtime_ns + 10**9))


def test_hmdb51_is_recognised_and_no_name_is_lost():
    write_hmdb(Path("ann"))
    names = [hmdb_name("pour", number) for number in range(4)]
    videos = write_videos(Path("videos"), [f"pour/{name}.avi" for name in names])
    dataset = add_dataset("hmdb51", videos=videos, annotations=Path("ann"))
    assert (dataset.config.format, dataset.config.label_set) == ("hmdb51", "hmdb51")
    found = dataset.manifest.rows[dataset.manifest.rows["path"] != ""]
    assert found["video"].tolist() == names
    assert all(any(mark in name for name in names) for mark in AWKWARD)
    assert len(dataset.manifest.absent) == 51 * 9 - 4
    assert load_dataset("hmdb51").manifest.sha256 == dataset.manifest.sha256


def test_kinetics_under_another_name_gets_its_label_set():
    rows = {"train": [("abseiling", "-3B32lodo2M")], "val": [("air drumming", "_dbcJuKJQNs")]}
    dataset = add_dataset("my-k400", annotations=write_kinetics(Path("ann"), rows))
    assert dataset.config.label_set == "kinetics400"
    assert dataset.manifest.rows["video"].tolist()[0] == "-3B32lodo2M_000010_000020"
    assert dataset.manifest.splits == ["train", "validation"]
    assert dataset.videos_root is None


def test_own_class_folders_get_a_label_set_that_grows_and_keeps_its_texts():
    root = write_videos(Path("clips"), ["pour/a.mp4", "ride_bike/b.mp4"])
    dataset = add_dataset("mine", videos=root)
    path = Path(".vclip/label_sets/mine.yaml")
    assert load_label_set("mine").names == ["pour", "ride_bike"]
    assert dataset.label_set.text("ride_bike") == "ride bike"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("- name: pour", "- name: pour\n  texts: {natural: pouring}"))
    assert load_dataset("mine").label_set.text("pour") == "pouring"
    write_videos(root, ["kick/c.mp4"])
    with pytest.raises(DataError, match="unknown class 'kick'"):
        load_dataset("mine")
    assert add_dataset("mine", videos=root).label_set.names == ["pour", "ride_bike", "kick"]
    assert load_label_set("mine").text("pour") == "pouring"


def test_new_videos_are_seen_and_unchanged_folders_are_not_read_again(monkeypatch):
    root = write_videos(Path("clips"), ["pour/a.mp4"])
    add_dataset("mine", videos=root)
    with monkeypatch.context() as patched:
        patched.setattr("vclip_cli.data.dataset.build_manifest", None)
        assert load_dataset("mine").manifest.videos == 1
    write_videos(root, ["pour/b.mp4"])
    touch_later(root / "pour")
    assert load_dataset("mine").manifest.videos == 2


def test_changed_annotations_rebuild_the_manifest():
    Path("list.txt").write_text("a.mp4 pour\nb.mp4 kick\n", encoding="utf-8")
    first = add_dataset("mine", annotations=Path("list.txt"))
    Path("list.txt").write_text("a.mp4 pour\nc.mp4 kick\n", encoding="utf-8")
    second = load_dataset("mine")
    assert second.manifest.rows["video"].tolist() == ["a", "c"]
    assert second.manifest.source_files != first.manifest.source_files


def test_names_given_in_a_file_keep_their_order():
    Path("names.txt").write_text("pour\nkick\n", encoding="utf-8")
    Path("list.txt").write_text("a.mp4 0\nb.mp4 1\n", encoding="utf-8")
    dataset = add_dataset("mine", annotations=Path("list.txt"), label_set="names.txt")
    assert dataset.label_set.names == ["pour", "kick"]
    assert dataset.manifest.rows["class"].tolist() == ["pour", "kick"]


def test_the_project_comes_before_the_user(tmp_path: Path):
    root = write_videos(Path("clips"), ["pour/a.mp4"])
    add_dataset("mine", videos=root, user=True)
    assert list_datasets()["mine"] == tmp_path / "config" / "datasets" / "mine.yaml"
    add_dataset("mine", videos=root)
    assert list_datasets()["mine"] == Path(".vclip/datasets/mine.yaml").resolve()


def test_a_moved_project_with_relative_paths_still_works(own_home: Path, monkeypatch):
    root = write_videos(Path("clips"), ["pour/a.mp4"])
    add_dataset("mine", videos=root)
    config = Path(".vclip/datasets/mine.yaml")
    values = yaml.safe_load(config.read_text(encoding="utf-8"))
    config.write_text(yaml.safe_dump({**values, "videos": "clips"}), encoding="utf-8")
    below = own_home / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    assert load_dataset("mine").videos_root == own_home / "clips"


def test_errors_say_what_to_do():
    with pytest.raises(UsageError, match="vclip data add nobody"):
        load_dataset("nobody")
    with pytest.raises(UsageError, match="not a name"):
        add_dataset("../x", videos=Path())
    with pytest.raises(DataError, match="no such file"):
        add_dataset("x", videos=Path("nowhere"))
    with pytest.raises(UsageError, match="neither"):
        add_dataset("x")
    root = write_videos(Path("clips"), ["pour/a.mp4"])
    with pytest.raises(UsageError, match="did you mean 'hmdb51'"):
        add_dataset("x", videos=root, format="hmdb")
    add_dataset("mine", videos=root)
    with pytest.raises(UsageError, match="did you mean 'mine'"):
        load_dataset("mime")
    root.rename("elsewhere")
    with pytest.raises(DataError, match="are gone"):
        load_dataset("mine")


def test_a_config_with_an_unknown_key_is_refused_with_the_line():
    add_dataset("mine", videos=write_videos(Path("clips"), ["pour/a.mp4"]))
    config = Path(".vclip/datasets/mine.yaml")
    config.write_text(config.read_text(encoding="utf-8") + "video: x\n", encoding="utf-8")
    with pytest.raises(
        SpecError, match=r"mine.yaml:\d+: unknown key 'video'.*did you mean 'videos'"
    ):
        load_dataset("mine")


def test_a_damaged_manifest_is_built_again():
    add_dataset("mine", videos=write_videos(Path("clips"), ["pour/a.mp4"]))
    Path(".vclip/datasets/mine.manifest.parquet").write_bytes(b"damaged")
    assert load_dataset("mine").manifest.videos == 1
