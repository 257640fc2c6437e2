from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from make_datasets import write_videos

from vclip_cli.common.errors import DataError
from vclip_cli.data.label_set import label_set_from_names
from vclip_cli.data.manifest import build_manifest, read_manifest, write_manifest
from vclip_cli.data.readers import COLUMNS, Annotations
from vclip_cli.data.videos_on_disk import (
    folders_unchanged,
    locate,
    scan_videos,
    video_stem,
    without_ending,
)

LABELS = label_set_from_names("x", "x", ["pour", "ride bike"])


def annotations(*rows: tuple[str, str, str, str], multi_label: bool = False) -> Annotations:
    return Annotations(pd.DataFrame(rows, columns=list(COLUMNS), dtype=str), "x", multi_label)


def where(listed: list[tuple[str, str, str]], *paths: str) -> dict[str, str]:
    return locate(listed, scan_videos(write_videos(Path("root"), list(paths)))).paths


@pytest.mark.parametrize(
    "path",
    ["pour/a.avi", "a.avi", "a.mp4", "train/pour/a.webm", "videos_val/ride_bike/deep/a.MKV"],
)
def test_a_video_is_found_by_name_in_any_layout(path: str):
    assert where([("a", "pour/a.avi", "pour")], path, "pour/b.avi") == {"a": path}


@pytest.mark.parametrize(
    "name", ["#1 & (2)", "![x];=y", "-3B32lodo2M_000059_000069", "a*b?", "ünïcode", "two.dots.v2"]
)
def test_awkward_names_are_plain_strings(name: str):
    assert where([(name, f"{name}.avi", "pour")], f"pour/{name}.avi") == {name: f"pour/{name}.avi"}


def test_bracketed_names_are_no_patterns():
    assert where([("[ab]", "[ab].avi", "pour")], "pour/a.avi") == {}


def test_kinetics_clips_are_found_without_their_times_and_the_other_way():
    timed = ("0wR5jVB-WPk_000417_000427", "0wR5jVB-WPk_000417_000427", "pour")
    assert where([timed], "val/0wR5jVB-WPk.mp4") == {timed[0]: "val/0wR5jVB-WPk.mp4"}
    bare = ("-7kbO0v4hag", "-7kbO0v4hag", "pour")
    paths = where([bare], "val/-7kbO0v4hag_000107_000117.mp4")
    assert paths == {"-7kbO0v4hag": "val/-7kbO0v4hag_000107_000117.mp4"}


def test_two_clips_of_one_youtube_video_do_not_share_a_file_without_times():
    listed = [(f"abc_{t:06d}_{t + 10:06d}", "", "pour") for t in (10, 20)]
    found = locate(listed, scan_videos(write_videos(Path("root"), ["abc.mp4"])))
    assert found.paths == {}
    assert "several listed videos fit" in found.remarks[0]
    assert found.unlisted == ()


def test_an_exact_statement_beats_a_bent_one():
    listed = [("b/x", "b/x.mp4", "ride bike"), ("a/x", "a/x.mp4", "pour")]
    assert where(listed, "a/x.mp4") == {"a/x": "a/x.mp4"}


def test_of_several_files_the_one_in_the_class_folder_is_taken():
    listed = [("x", "x.mp4", "ride bike")]
    found = locate(listed, scan_videos(write_videos(Path("r"), ["pour/x.mp4", "ride_bike/x.mp4"])))
    assert found.paths == {"x": "ride_bike/x.mp4"}
    assert "several files" in found.remarks[0]
    assert found.unlisted == ("pour/x.mp4",)


def test_endings():
    assert without_ending("Dr.No_kick") == "Dr.No_kick"
    assert without_ending("a/b.MP4") == "a/b"
    assert video_stem("a.b/.mp4") == ".mp4"


def test_a_change_in_a_folder_is_noticed():
    root = write_videos(Path("root"), ["pour/a.avi"])
    folders = scan_videos(root).folders
    assert set(folders) == {".", "pour"}
    assert folders_unchanged(root, folders)
    write_videos(root, ["new/b.avi"])
    assert not folders_unchanged(root, folders)


def test_a_link_to_a_parent_folder_ends():
    root = write_videos(Path("root"), ["pour/a.avi"])
    (root / "pour" / "loop").symlink_to(root.resolve(), target_is_directory=True)
    assert scan_videos(root).paths == ("pour/a.avi",)


def test_what_is_absent_and_what_is_unlisted():
    root = write_videos(Path("root"), ["pour/a.avi", "pour/extra.avi"])
    listed = annotations(("a", "a.avi", "Pour", "train"), ("b", "b.avi", "ride_bike", "train"))
    manifest = build_manifest(listed, root, LABELS, dataset="d")
    assert manifest.rows.values.tolist() == [
        ["a", "pour/a.avi", "pour", "train"],
        ["b", "", "ride bike", "train"],
    ]
    assert manifest.absent == ("b",)
    assert manifest.unlisted == ("pour/extra.avi",)


def test_a_video_in_two_lists_has_one_row():
    listed = annotations(("a", "a", "pour", "train"), ("a", "a", "pour", "test"))
    manifest = build_manifest(listed, None, LABELS)
    assert manifest.rows["splits"].tolist() == ["train;test"]
    assert manifest.splits == ["train", "test"]


def test_two_labels_are_refused_where_one_is_allowed():
    rows = (("a", "a", "pour", "train"), ("a", "a", "ride bike", "train"))
    with pytest.raises(DataError, match="several labels"):
        build_manifest(annotations(*rows), None, LABELS)
    assert build_manifest(annotations(*rows, multi_label=True), None, LABELS).videos == 1


def test_the_hash_is_of_what_is_listed_not_of_where_it_lies():
    listed = annotations(("a", "a.avi", "pour", "train"), ("b", "b.avi", "pour", "test"))
    without = build_manifest(listed, None, LABELS)
    with_videos = build_manifest(listed, write_videos(Path("root"), ["x/a.mp4"]), LABELS)
    assert without.sha256 == with_videos.sha256
    other = annotations(("a", "a.avi", "pour", "test"), ("b", "b.avi", "pour", "test"))
    assert build_manifest(other, None, LABELS).sha256 != without.sha256


def test_writing_and_reading():
    names = ["#1 & (2)", "-x", "NA", "null", "007", 'a,"b', "ü"]
    listed = annotations(*[(name, f"{name}.avi", "pour", "train") for name in names])
    manifest = build_manifest(listed, write_videos(Path("root"), ["pour/NA.avi"]), LABELS)
    path = Path("m") / "d.manifest.parquet"
    write_manifest(manifest, path)
    again = read_manifest(path)
    assert again.rows.values.tolist() == manifest.rows.values.tolist()
    assert again.sha256 == manifest.sha256
    assert again.absent == manifest.absent
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(DataError, match="belong together"):
        read_manifest(path)
