"""The HMDB51 files: codes, order, odd names, partial downloads, damaged lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError
from vclip_cli.data.readers import hmdb51

ODD = [
    "#20_Rhythm_clap_u_nm_np1_fr_goo_0",
    "20060723sfjffbartsinger_clap_f_cm_np1_ba_med_0",
    "Tom_&_Jerry_(part_1)!_clap_f_nm_np1_le_bad_3",
    "a;b=c_[x]_clap_u_nm_np1_fr_med_1",
    "~@+clap..._u_nm",
]


def write(folder: Path, name: str, number: int, rows: list[tuple[str, int]]) -> None:
    text = "".join(f"{video}.avi {code} \n" for video, code in rows)
    (folder / f"{name}_test_split{number}.txt").write_text(text)


def test_codes_become_splits(tmp_path: Path) -> None:
    write(tmp_path, "clap", 1, [("a", 1), ("b", 2), ("c", 0)])
    write(tmp_path, "clap", 2, [("c", 1), ("a", 2), ("b", 0)])
    annotations = hmdb51.read(tmp_path)
    assert annotations.label_set == "hmdb51"
    assert list(annotations.rows["video"]) == ["a", "b", "c"]
    assert list(annotations.rows["splits"]) == [
        "train-1;test-2",
        "test-1;unused-2",
        "unused-1;train-2",
    ]
    assert set(annotations.rows["class"]) == {"clap"}


def test_odd_names_survive(tmp_path: Path) -> None:
    write(tmp_path, "clap", 1, [(video, 2) for video in ODD])
    rows = hmdb51.read(tmp_path).rows
    assert list(rows["video"]) == ODD
    assert list(rows["file"]) == [f"{video}.avi" for video in ODD]


def test_classes_come_in_official_order(tmp_path: Path) -> None:
    """Sorted as files, kick_ball_test… would come before kick_test…."""
    for name in ("sword_exercise", "kick_ball", "sword", "kick"):
        write(tmp_path, name, 1, [(f"z_{name}", 1), (f"a_{name}", 1)])
    rows = hmdb51.read(tmp_path).rows
    assert list(rows["video"]) == [
        f"{letter}_{name}"
        for name in ("kick", "kick_ball", "sword", "sword_exercise")
        for letter in "za"
    ]


def test_partial_downloads_are_read_with_remarks(tmp_path: Path) -> None:
    write(tmp_path, "wave", 1, [("a", 1)])
    remarks = " | ".join(hmdb51.read(tmp_path).remarks)
    assert "test-1" in remarks and "train-3" in remarks
    assert "no list of 50 classes, such as 'brush_hair'" in remarks


def test_one_file_and_the_folder_of_the_archive(tmp_path: Path) -> None:
    folder = tmp_path / "testTrainMulti_7030_splits"
    folder.mkdir()
    write(folder, "wave", 1, [("a", 1)])
    write(folder, "walk", 1, [("b", 1)])
    assert hmdb51.detects(tmp_path)
    assert list(hmdb51.read(tmp_path).rows["video"]) == ["b", "a"]
    assert list(hmdb51.read(folder / "wave_test_split1.txt").rows["video"]) == ["a"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("b.avi", "not a line of this list"),
        ("b.avi 3", "not a line of this list"),
        ("b.avi 1 2", "not a line of this list"),
        ("../b.avi 1", "does not stay inside"),
        ("a.avi 2", "two parts of one split"),
    ],
)
def test_damaged_lines_are_named(tmp_path: Path, line: str, what: str) -> None:
    file = tmp_path / "wave_test_split1.txt"
    file.write_bytes(f"\ufeffa.avi 1 \r\n{line}\r\n".encode())
    with pytest.raises(DataError, match=what) as caught:
        hmdb51.read(tmp_path)
    assert caught.value.where == f"{file}:2"


def test_a_video_in_two_classes(tmp_path: Path) -> None:
    write(tmp_path, "walk", 1, [("a", 1)])
    write(tmp_path, "wave", 2, [("a", 1)])
    with pytest.raises(DataError, match="two classes") as caught:
        hmdb51.read(tmp_path)
    assert caught.value.where == f"{tmp_path / 'wave_test_split2.txt'}:1"


def test_an_unknown_class(tmp_path: Path) -> None:
    write(tmp_path, "cartwhel", 1, [("a", 1)])
    with pytest.raises(DataError, match=r"cartwhel_test_split1\.txt: .*did you mean 'cartwheel'"):
        hmdb51.read(tmp_path)


NAMES = st.text(st.sampled_from("ab1_#&(!;=[]+@~.- "), min_size=1, max_size=12).filter(
    lambda name: name == name.strip() and name.strip(".")
)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(NAMES, st.sampled_from([0, 1, 2]), min_size=1, max_size=8))
def test_any_name_is_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, codes: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("splits")
    write(folder, "wave", 2, list(codes.items()))
    rows = hmdb51.read(folder).rows
    assert list(rows["video"]) == list(codes)
    kinds = {0: "unused-2", 1: "train-2", 2: "test-2"}
    assert list(rows["splits"]) == [kinds[code] for code in codes.values()]
