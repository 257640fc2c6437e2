"""The Charades CSV files: many actions per video, one row per class."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.readers import charades

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length"
COOKING = (
    "46GP8,HR43,Hallway,6,7,Yes,A person cooks.,food;stove,"
    '"Cooks, then looks.",c092 11.90 21.20;c147 0.00 12.60;c092 0.00 3.00,24.83'
)
IDLE = '0IH69,6RE8,Bedroom,6,5,Yes,...,book;box,"...",,30.25'
NAMES = load_label_set("charades").names


def write(folder: Path, split: str, *lines: str) -> Path:
    file = folder / f"Charades_v1_{split}.csv"
    file.write_text("".join(f"{line}\r\n" for line in (HEADER, *lines)), newline="")
    return file


def test_one_row_per_class(tmp_path: Path) -> None:
    write(tmp_path, "test", IDLE)
    write(tmp_path, "train", COOKING)
    annotations = charades.read(tmp_path)
    rows = annotations.rows
    assert list(rows["video"]) == ["46GP8", "46GP8", "0IH69"]
    assert list(rows["class"]) == [NAMES[92], NAMES[147], ""]
    assert list(rows["splits"]) == ["train", "train", "test"]
    assert annotations.multi_label
    assert annotations.label_set == "charades"
    assert "1 videos have no action" in annotations.remarks
    assert "1 videos repeat a class, which counts once" in annotations.remarks


def test_codes_mean_what_the_classes_file_says(tmp_path: Path) -> None:
    (tmp_path / "Charades_v1_test.csv").write_text("id,actions\nA,c000 0.0 1.0\n")
    classes = tmp_path / "Charades_v1_classes.txt"
    classes.write_bytes(b"c000 Taking clothes from somewhere\r\n")
    assert list(charades.read(tmp_path).rows["class"]) == ["Taking some clothes from somewhere"]
    classes.write_text("c000 Holding some clothe\n")
    with pytest.raises(DataError, match="'Holding some clothes'") as caught:
        charades.read(tmp_path)
    assert caught.value.where == f"{classes}:1"
    classes.write_text("c000 Holding some clothes\nc000 Closing a door\n")
    with pytest.raises(DataError, match="appears twice") as caught:
        charades.read(tmp_path)
    assert caught.value.where == f"{classes}:2"


def test_one_part_alone_is_read_with_a_remark(tmp_path: Path) -> None:
    file = write(tmp_path, "test", COOKING)
    for path in (tmp_path, file):
        remarks = charades.read(path).remarks
        assert "no list of train" in remarks
        assert "test: 1 videos are listed, officially 1,863" in remarks


@pytest.mark.parametrize(
    ("actions", "what"),
    [
        ("c157 0.0 1.0", "unknown action code 'c157'"),
        ("c001 0.0", "not an action"),
        ("c001 0.0 1.0;", "not an action"),
        ("c001 0.0 1.0 2.0", "not an action"),
    ],
)
def test_damaged_actions_are_named(tmp_path: Path, actions: str, what: str) -> None:
    file = write(tmp_path, "train", COOKING, f"B,s,c,1,1,Yes,t,o,d,{actions},1.0")
    with pytest.raises(DataError, match=what) as caught:
        charades.read(tmp_path)
    assert caught.value.where == f"{file}:3"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("B,c001 0.0 1.0", "wrong number of columns"),
        (IDLE.replace("0IH69", "46GP8"), "listed twice"),
        (IDLE.replace("0IH69", "../46GP8"), "does not stay inside"),
        (IDLE.replace("0IH69", ""), "does not stay inside"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line: str, what: str) -> None:
    file = write(tmp_path, "train", COOKING, line)
    with pytest.raises(DataError, match=what) as caught:
        charades.read(tmp_path)
    assert caught.value.where == f"{file}:3"


def test_a_record_over_two_lines_counts_its_lines(tmp_path: Path) -> None:
    first = COOKING.replace("Cooks, then looks.", "Cooks,\nthen looks.")
    file = write(tmp_path, "train", first, "B,s,c,1,1,Yes,t,o,d,c999 0 1,1.0")
    with pytest.raises(DataError, match="unknown action code") as caught:
        charades.read(tmp_path)
    assert caught.value.where == f"{file}:4"


@settings(max_examples=30, deadline=None)
@given(
    st.dictionaries(
        st.text(st.sampled_from("AZ09"), min_size=5, max_size=5),
        st.lists(st.integers(0, 156), max_size=5),
        min_size=1,
        max_size=8,
    )
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, actions: dict[str, list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("charades")
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(HEADER.split(","))
    for video, codes in actions.items():
        segments = ";".join(f"c{code:03d} 0.00 1.50" for code in codes)
        writer.writerow([video, "s", "c", 1, 1, "Yes", 'a "b",\nc', "o", "d", segments, 2.0])
    (folder / "Charades_v1_test.csv").write_text(stream.getvalue(), newline="")
    rows = charades.read(folder).rows
    expected = [
        (video, NAMES[code] if code is not None else "")
        for video, codes in actions.items()
        for code in (dict.fromkeys(codes) or [None])
    ]
    assert list(zip(rows["video"], rows["class"], strict=True)) == expected
