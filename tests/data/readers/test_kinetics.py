"""The Kinetics CSV files, old and new, of 400 and of 600 classes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.readers import kinetics

NEW = "label,youtube_id,time_start,time_end,split"
OLD = f"{NEW},is_cc"


def write(folder: Path, name: str, *lines: str) -> Path:
    file = folder / name
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_old_and_new_columns(tmp_path: Path) -> None:
    write(
        tmp_path,
        "val.csv",
        OLD,
        "abseiling,-3B32lodo2M,59,69,val,0",
        '"air drumming",_dbcJuKJQNs,40,50,val,0',
    )
    write(tmp_path, "train.csv", NEW, "zumba,---QUuC4vJs,84,94,train")
    annotations = kinetics.read(tmp_path)
    rows = annotations.rows
    assert list(rows["video"]) == [
        "---QUuC4vJs_000084_000094",
        "-3B32lodo2M_000059_000069",
        "_dbcJuKJQNs_000040_000050",
    ]
    assert list(rows["class"]) == ["zumba", "abseiling", "air drumming"]
    assert list(rows["splits"]) == ["train", "validation", "validation"]
    assert annotations.label_set == "kinetics400"
    assert annotations.remarks == ("no list of test",)


@pytest.mark.parametrize("name", ["val.csv", "validate.csv", "validation.csv", "kinetics_val.csv"])
@pytest.mark.parametrize("split", ["val", "validate", "validation"])
def test_all_spellings_of_validation(tmp_path: Path, name: str, split: str) -> None:
    write(tmp_path, name, NEW, f"yoga,a,1,11,{split}")
    assert list(kinetics.read(tmp_path).rows["splits"]) == ["validation"]


def test_a_test_file_without_labels(tmp_path: Path) -> None:
    write(tmp_path, "test.csv", "youtube_id,time_start,time_end,split", "a,1,11,test")
    annotations = kinetics.read(tmp_path)
    assert list(annotations.rows["class"]) == [""]
    assert "1 videos are listed without a label" in annotations.remarks


def test_a_file_without_a_split_column(tmp_path: Path) -> None:
    write(tmp_path, "validate.csv", "label,youtube_id,time_start,time_end", "yoga,a,1,11")
    assert list(kinetics.read(tmp_path).rows["splits"]) == ["validation"]


def test_a_single_file_of_another_name_must_state_its_splits(tmp_path: Path) -> None:
    file = write(tmp_path, "mine.csv", NEW, "yoga,a,1,11,val")
    assert kinetics.detects(file)
    assert not kinetics.detects(tmp_path)
    assert list(kinetics.read(file).rows["splits"]) == ["validation"]
    write(tmp_path, "mine.csv", "label,youtube_id,time_start,time_end", "yoga,a,1,11")
    with pytest.raises(DataError, match="'split' is missing"):
        kinetics.read(file)


def test_the_label_set_follows_the_labels(tmp_path: Path) -> None:
    write(tmp_path, "val.csv", NEW, "yoga,a,1,11,val", "acting in play,b,1,11,val")
    assert kinetics.read(tmp_path).label_set == "kinetics600"
    write(tmp_path, "val.csv", NEW, "yoga,a,1,11,val", "dying hair,b,1,11,val")
    assert kinetics.read(tmp_path).label_set == "kinetics400"


def test_the_folder_decides_where_the_labels_do_not(tmp_path: Path) -> None:
    for name in ("kinetics400", "kinetics600"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "val.csv", NEW, "yoga,a,1,11,val")
        assert kinetics.read(tmp_path / name).label_set == name
        assert kinetics.read(tmp_path / name / "val.csv").label_set == name


def test_rewordings_with_a_given_label_set(tmp_path: Path) -> None:
    write(tmp_path, "val.csv", NEW, "dying hair,a,1,11,val")
    annotations = kinetics.read(tmp_path, load_label_set("kinetics600"))
    assert list(annotations.rows["class"]) == ["dyeing hair"]
    assert annotations.label_set == "kinetics600"


def test_ids_are_never_numbers(tmp_path: Path) -> None:
    write(tmp_path, "val.csv", NEW, "yoga,00012345678,0,10.0,val", "yoga,NA,1,11,val")
    write(tmp_path, "train.csv", NEW, "yoga,1e5,1,11,train")
    assert list(kinetics.read(tmp_path).rows["video"]) == [
        "1e5_000001_000011",
        "00012345678_000000_000010",
        "NA_000001_000011",
    ]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("yoga,b,1,11", "wrong number of columns; found 4; expected 5"),
        ("yoga,b,1,11,val,0", "wrong number of columns; found 6; expected 5"),
        ("yogga,b,1,11,val", "did you mean 'yoga'"),
        ("yoga,../b,1,11,val", "not a YouTube id"),
        ("yoga,,1,11,val", "not a YouTube id"),
        ("yoga,b,one,11,val", "time_start is not a time"),
        ("yoga,b,1,-11,val", "time_end is not a time"),
        ("yoga,b,1,11.5,val", "time_end is not a time"),
        ("yoga,b,1,11,holdout", "unknown split"),
        ("zumba,a,1,11,val", "two classes"),
        ('"yoga,b,1,11,val', "not valid CSV"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line: str, what: str) -> None:
    file = write(tmp_path, "val.csv", NEW, "yoga,a,1,11,val", "", line)
    with pytest.raises(DataError, match=what) as caught:
        kinetics.read(tmp_path)
    assert caught.value.where == f"{file}:4"


def test_a_missing_column(tmp_path: Path) -> None:
    file = write(tmp_path, "val.csv", "label,youtubeid,time_start,time_end", "yoga,a,1,11")
    with pytest.raises(DataError, match="'youtube_id' is missing") as caught:
        kinetics.read(tmp_path)
    assert caught.value.where == f"{file}:1"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_bytes(b"")
    with pytest.raises(DataError, match="empty"):
        kinetics.read(tmp_path)


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_bytes(f"\ufeff{OLD}\r\nyoga,a,1,11,val,0\r\n".encode())
    assert kinetics.detects(tmp_path)
    assert list(kinetics.read(tmp_path).rows["class"]) == ["yoga"]


def test_a_video_of_two_splits_has_one_row(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", NEW, "yoga,a,1,11,train", "yoga,b,1,11,train")
    write(tmp_path, "val.csv", NEW, "yoga,a,1,11,val", "yoga,c,1,11,val", "yoga,c,1,11,val")
    annotations = kinetics.read(tmp_path)
    assert list(annotations.rows["splits"]) == ["train;validation", "train", "validation"]
    assert "1 videos are in more than one split" in annotations.remarks
    assert "1 lines repeat a video of the same list and were left out" in annotations.remarks


IDS = st.text(st.sampled_from("aZ09-_"), min_size=1, max_size=11)
TIMES = st.integers(min_value=0, max_value=999_999)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.dictionaries(
        st.tuples(IDS, TIMES),
        st.sampled_from(load_label_set("kinetics400").names),
        min_size=1,
        max_size=10,
    ),
    crawler=st.booleans(),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_what_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: dict[tuple[str, int], str],
    crawler: bool,
    quoting: int,
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=quoting)
    writer.writerow((OLD if crawler else NEW).split(","))
    for (video, start), label in rows.items():
        writer.writerow([label, video, start, start + 10, "train", *(["0"] if crawler else [])])
    (folder / "train.csv").write_text(stream.getvalue(), newline="")
    read = kinetics.read(folder, load_label_set("kinetics400")).rows
    assert list(read["video"]) == [f"{v}_{s:06d}_{s + 10:06d}" for v, s in rows]
    assert list(read["class"]) == list(rows.values())


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda lines: [*lines[:4000], "a,b\n", *lines[4000:]], ":4001"),
        (lambda lines: [*lines[:4000], lines[4000].replace(",", ",,"), *lines[4001:]], ":4001"),
        (lambda lines: [*lines[:4000], lines[4000].replace("abs", "ab\0"), *lines[4001:]], ":4001"),
        (lambda lines: [*lines[:4000], lines[4000].replace("abs", 'a"s'), *lines[4001:]], ":4001"),
    ],
)
def test_a_fault_in_a_large_file_is_found_where_it_stands(
    tmp_path: Path, spoil: Callable, where: str
) -> None:
    header = "label,youtube_id,time_start,time_end,split\n"
    lines = [header, *(f"abseiling,{n:011d},{n},{n + 10},train\n" for n in range(6000))]
    good = tmp_path / "train.csv"
    good.write_text("".join(lines))
    rows = kinetics.read(tmp_path, load_label_set("kinetics400")).rows
    assert rows["video"].tolist() == [f"{n:011d}_{n:06d}_{n + 10:06d}" for n in range(6000)]
    good.write_text("".join(spoil(lines)))
    with pytest.raises(DataError) as caught:
        kinetics.read(tmp_path, load_label_set("kinetics400"))
    assert str(caught.value.where).endswith(where)


def test_blank_lines_in_a_large_file_do_not_shift_the_line_numbers(tmp_path: Path) -> None:
    lines = [f"abseiling,{n:011d},{n},{n + 10},train\n" for n in range(6000)]
    lines[5000] = "no such class,aaaaaaaaaaa,1,2,train\n"
    text = "label,youtube_id,time_start,time_end,split\n\n\n" + "".join(lines)
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(DataError) as caught:
        kinetics.read(tmp_path, load_label_set("kinetics400"))
    assert str(caught.value.where).endswith(":5004")
