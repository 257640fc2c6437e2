"""The UCF101 lists: order, splits, partial downloads, damaged lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError
from vclip_cli.data.label_set import ClassEntry, LabelSet
from vclip_cli.data.readers import COLUMNS, ucf101

CLASSES = "37 HandstandPushups\r\n1 ApplyEyeMakeup\r\n101 YoYo\r\n"
MAKEUP = [f"ApplyEyeMakeup/v_ApplyEyeMakeup_g{group:02d}_c01.avi" for group in (8, 9, 1)]
PUSHUPS = "HandstandPushups/v_HandStandPushups_g02_c01.avi"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    write(tmp_path, "classInd.txt", CLASSES)
    write(tmp_path, "trainlist01.txt", f"{MAKEUP[0]} 1\r\n{MAKEUP[1]} 1\r\n{PUSHUPS} 37\r\n")
    write(tmp_path, "testlist01.txt", f"{MAKEUP[2]}\r\n")
    write(tmp_path, "trainlist02.txt", f"{MAKEUP[2]} 1\r\n{MAKEUP[1]} 1\r\n")
    write(tmp_path, "testlist02.txt", f"{PUSHUPS}\r\n{MAKEUP[0]}\r\n")
    return tmp_path


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).write_bytes(text.encode())


def test_rows_follow_the_first_training_list(lists: Path) -> None:
    annotations = ucf101.read(lists)
    rows = annotations.rows
    assert tuple(rows.columns) == COLUMNS
    assert list(rows["file"]) == [MAKEUP[0], MAKEUP[1], PUSHUPS, MAKEUP[2]]
    assert list(rows["splits"]) == [
        "train-1;test-2",
        "train-1;train-2",
        "train-1;test-2",
        "test-1;train-2",
    ]
    assert annotations.label_set == "ucf101"
    assert not annotations.multi_label


def test_the_class_is_the_folder_not_the_file(lists: Path) -> None:
    row = ucf101.read(lists).rows.set_index("video").loc["v_HandStandPushups_g02_c01"]
    assert row["class"] == "HandstandPushups"


def test_partial_lists_are_read_with_remarks(tmp_path: Path) -> None:
    write(tmp_path, "testlist03.txt", f"{MAKEUP[0]}\n")
    annotations = ucf101.read(tmp_path)
    assert list(annotations.rows["splits"]) == ["test-3"]
    remarks = " | ".join(annotations.remarks)
    assert "no list of train-1, test-1, train-2, test-2, train-3" in remarks
    assert "test-3: 1 videos are listed, officially 3,696" in remarks
    assert "classInd.txt" in remarks


def test_one_list_alone(lists: Path) -> None:
    rows = ucf101.read(lists / "testlist02.txt").rows
    assert list(rows["splits"]) == ["test-2", "test-2"]


def test_the_folder_of_the_archive_is_found(tmp_path: Path) -> None:
    (tmp_path / "ucfTrainTestlist").mkdir()
    write(tmp_path / "ucfTrainTestlist", "testlist01.txt", f"{MAKEUP[0]}\n")
    assert ucf101.detects(tmp_path)
    assert len(ucf101.read(tmp_path).rows) == 1


def test_byte_order_mark_blank_lines_and_folder_respelling(tmp_path: Path) -> None:
    text = "\ufeffapply_eye_makeup/v_ApplyEyeMakeup_g01_c01.avi 1\n\n"
    write(tmp_path, "trainlist01.txt", text)
    rows = ucf101.read(tmp_path).rows
    assert list(rows["class"]) == ["ApplyEyeMakeup"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("ApplyEyeMakeup/v_a.avi", "not a line of this list"),
        ("ApplyEyeMakeup/v_a.avi 1 2", "not a line of this list"),
        ("v_a.avi 1", "not a line of this list"),
        ("ApplyEyeMakeup/v_a.avi 37", "not that of the folder"),
        ("ApplyEyeMakeup/v_a.avi 400", "not that of the folder"),
        ("ApplyEyeMakup/v_a.avi 1", "did you mean 'ApplyEyeMakeup'"),
        ("../ApplyEyeMakeup/v_a.avi 1", "does not stay inside"),
        ("/data/ApplyEyeMakeup/v_a.avi 1", "does not stay inside"),
        ("YoYo/v_ApplyEyeMakeup_g08_c01.avi 101", "two classes"),
    ],
)
def test_damaged_lines_are_named(lists: Path, line: str, what: str) -> None:
    write(lists, "trainlist01.txt", f"{MAKEUP[0]} 1\r\n{line}\r\n")
    with pytest.raises(DataError, match=what) as caught:
        ucf101.read(lists)
    assert caught.value.where == f"{lists / 'trainlist01.txt'}:2"


def test_a_video_in_both_parts_of_a_split(lists: Path) -> None:
    write(lists, "testlist01.txt", f"{MAKEUP[2]}\n{MAKEUP[0]}\n")
    with pytest.raises(DataError, match="two parts of one split") as caught:
        ucf101.read(lists)
    assert caught.value.where == f"{lists / 'testlist01.txt'}:2"


def test_a_repeated_line_counts_once(lists: Path) -> None:
    write(lists, "testlist01.txt", f"{MAKEUP[2]}\n{MAKEUP[2]}\n")
    annotations = ucf101.read(lists)
    assert len(annotations.rows) == 4
    assert any("1 lines repeat" in remark for remark in annotations.remarks)


@pytest.mark.parametrize(
    "text", ["Archery\n", "x Archery\n", "3 Archery\n3 Archery\n", "3 Arrow\n"]
)
def test_damaged_class_index(lists: Path, text: str) -> None:
    write(lists, "classInd.txt", text)
    with pytest.raises(DataError, match=r"classInd\.txt:[12]"):
        ucf101.read(lists)


def test_text_that_is_not_utf8(lists: Path) -> None:
    (lists / "testlist01.txt").write_bytes(b"ApplyEyeMakeup/v_a.avi\nApplyEyeMakeup/v_\xff.avi\n")
    with pytest.raises(DataError, match="UTF-8") as caught:
        ucf101.read(lists)
    assert caught.value.where == f"{lists / 'testlist01.txt'}:2"


def test_another_label_set(lists: Path) -> None:
    names = ["ApplyEyeMakeup", "HandstandPushups", "YoYo"]
    mine = LabelSet(
        name="mine", title="m", version=1, classes=[ClassEntry(name=name) for name in names]
    )
    assert ucf101.read(lists, mine).label_set == "mine"


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["Archery", "YoYo"]), st.sampled_from(["train", "test"])),
        min_size=1,
        max_size=12,
    )
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, parts: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    listed = [(name, kind, f"v_{index}") for index, (name, kind) in enumerate(parts)]
    for kind, ending in (("train", " 1"), ("test", "")):
        lines = [f"{name}/{video}.avi{ending}" for name, part, video in listed if part == kind]
        write(folder, f"{kind}list01.txt", "".join(line + "\r\n" for line in lines))
    rows = ucf101.read(folder).rows
    trained = [entry for entry in listed if entry[1] == "train"]
    tested = [entry for entry in listed if entry[1] == "test"]
    expected = [(video, name, f"{kind}-1") for name, kind, video in trained + tested]
    assert list(zip(rows["video"], rows["class"], rows["splits"], strict=True)) == expected
