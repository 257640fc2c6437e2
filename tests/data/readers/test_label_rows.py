"""CSV files with a row for each video and label."""

from __future__ import annotations

from pathlib import Path

import pytest

from vclip_cli.common.errors import DataError
from vclip_cli.data.readers import detect_format, label_rows, list_file

ROWS = (
    "video,label,split\na.mp4,cat,train\na.mp4,runs,train\na.mp4,cat,train\nb,cat,test\nc,,test\n"
)


def test_labels_of_a_video_are_joined_and_none_is_a_row_without_class(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(ROWS + "b,,test\n")
    assert detect_format(path) == "label_rows"
    annotations = label_rows.read(path)
    assert annotations.multi_label
    assert not annotations.remarks
    pairs = list(zip(annotations.rows["video"], annotations.rows["class"], strict=True))
    assert pairs == [("a", "cat"), ("a", "runs"), ("a", "cat"), ("b", "cat"), ("c", "")]


def test_a_folder_of_files_named_after_their_splits(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("video,label\na.mp4,cat\na.mp4,dog\n")
    (tmp_path / "test.csv").write_text("video,label\nb.mp4,dog\n")
    assert detect_format(tmp_path) == "label_rows"
    rows = label_rows.read(tmp_path).rows
    assert list(rows["splits"]) == ["train", "train", "test"]


def test_one_label_a_video_stays_a_single_label_list(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("video,label\na.mp4,cat\nb.mp4,dog\n")
    assert detect_format(path) == "list_file"
    assert label_rows.read(path).multi_label  # where it is asked for
    path.write_text("video,class\na.mp4,cat\na.mp4,dog\n")
    assert detect_format(path) == "list_file"
    with pytest.raises(DataError, match="label-rows"):
        list_file.read(path)
