from __future__ import annotations

from pathlib import Path

import pytest
from make_datasets import write_videos

from vclip_cli.common.errors import DataError
from vclip_cli.data.annotation_files import inside, read_class_names, read_lines, split_name
from vclip_cli.data.label_set import label_set_from_names
from vclip_cli.data.readers import class_folders, detect_format, list_file
from vclip_cli.data.video_list import read_video_list


def write(text: str | bytes, name: str = "list.txt") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("line", "path", "labels"),
    [
        ("v_Archery_g01_c01.avi 0", "v_Archery_g01_c01.avi", ("0",)),
        ("val/0wR5jVB-WPk_000417_000427.mp4\t169", "val/0wR5jVB-WPk_000417_000427.mp4", ("169",)),
        ("-3B32lodo2M_000059_000069.mp4 7", "-3B32lodo2M_000059_000069.mp4", ("7",)),
        ("#1 [best] (a&b)!;=.avi 3", "#1 [best] (a&b)!;=.avi", ("3",)),
        ("my clip.mp4 pour water", "my clip.mp4", ("pour water",)),
        ("val/a/b.mp4,12", "val/a/b.mp4", ("12",)),
        ('"a, b.mp4",pour', "a, b.mp4", ("pour",)),
        ("46GP8.mp4 92 147", "46GP8.mp4", ("92", "147")),
        ("46GP8.mp4,92,147", "46GP8.mp4", ("92", "147")),
        ("clip_without_ending 4", "clip_without_ending", ("4",)),
        ("folder/clip,4", "folder/clip", ("4",)),
        (
            "abseiling/-7kbO0v4hag_000107_000117 300 0",
            "abseiling/-7kbO0v4hag_000107_000117",
            ("0",),
        ),
        ("./a//b.mp4 1", "a/b.mp4", ("1",)),
        ("a\\b.mp4 1", "a/b.mp4", ("1",)),
        ("only/a/path.mp4", "only/a/path.mp4", ()),
        ("wörk.mp4 gießen", "wörk.mp4", ("gießen",)),
    ],
)
def test_every_form_of_a_line(line: str, path: str, labels: tuple[str, ...]):
    for ending in ("\n", "\r\n"):
        for mark in (b"", b"\xef\xbb\xbf"):
            found = read_video_list(write(mark + (line + ending).encode()))
            assert [(entry.path, entry.labels) for entry in found.entries] == [(path, labels)]


def test_a_table_with_a_header():
    found = read_video_list(write('split,video,class\ntrain,"a,b.mp4",pour\ntest,#c.mp4,kick\n'))
    assert found.header
    assert [(e.line, e.path, e.labels, e.split) for e in found.entries] == [
        (2, "a,b.mp4", ("pour",), "train"),
        (3, "#c.mp4", ("kick",), "test"),
    ]


@pytest.mark.parametrize(
    ("text", "line", "match"),
    [
        ("a.mp4 0\n../b.mp4 1\n", 2, "does not stay inside"),
        ("a.mp4 0\n/etc/b.mp4 1\n", 2, "does not stay inside"),
        ("a.mp4 0\nC:\\b.mp4 1\n", 2, "does not stay inside"),
        ("a.mp4 0\n\nb.mp4\n", 3, "wrong number of columns"),
        ("a.mp4\nb.mp4 1\n", 2, "wrong number of columns"),
        (b"a.mp4 0\nb\xff.mp4 1\n", 2, "not UTF-8"),
        ("a.mp4 0\nb.mp4 1\0\n", 2, "binary"),
        ("video,class\na.mp4,pour\nb.mp4\n", 3, "wrong number of columns"),
        ('video,class\n"a.mp4,pour\n', 2, "not valid CSV"),
    ],
)
def test_a_broken_list_is_one_error_with_the_line(text: str | bytes, line: int, match: str):
    with pytest.raises(DataError, match=match) as caught:
        read_video_list(write(text))
    assert caught.value.where == f"list.txt:{line}"
    assert caught.value.exit_code == 4


def test_an_empty_list_is_refused():
    with pytest.raises(DataError, match="empty"):
        read_video_list(write("\n \n"))


def test_lines_end_with_lf_or_crlf_only():
    assert read_lines(write("a\u2028b\x0bc\r\nd")) == ["a\u2028b\x0bc", "d"]


def test_inside_cleans_and_refuses():
    assert inside("a/./b.mp4", "x:1") == "a/b.mp4"
    for bad in ("", ".", "a/../../b", "..\\a"):
        with pytest.raises(DataError):
            inside(bad, "x:1")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('id,name\n0,brush hair\n1,"a, b"\n', {"0": "brush hair", "1": "a, b"}),
        ("1 ApplyEyeMakeup\r\n2 Archery\r\n", {"1": "ApplyEyeMakeup", "2": "Archery"}),
        ("pour\n\nride bike\n", {"0": "pour", "1": "ride bike"}),
    ],
)
def test_files_of_class_names(text: str, names: dict[str, str]):
    assert read_class_names(write(text)) == names


def test_a_label_id_that_stands_twice_is_refused():
    with pytest.raises(DataError, match="twice") as caught:
        read_class_names(write("0,a\n0,b\n"))
    assert caught.value.where == "list.txt:2"


@pytest.mark.parametrize(
    ("name", "split"),
    [("train", "train"), ("videos_val", "validation"), ("Testing", "test"), ("all", "all"),
     ("trainlist01", "train"), ("val_list", "validation"), ("training day", None),
     ("restoring", None)],
)  # fmt: skip
def test_split_names(name: str, split: str | None):
    assert split_name(name) == split


def test_numbers_are_places_in_the_label_set():
    label_set = label_set_from_names("x", "x", ["kick", "pour"])
    found = list_file.read(write("b.mp4 1\na.mp4 0\n"), label_set)
    assert found.rows[["video", "class"]].values.tolist() == [["b", "pour"], ["a", "kick"]]
    with pytest.raises(DataError, match="0 to 1") as caught:
        list_file.read(write("a.mp4 0\nb.mp4 2\n"), label_set)
    assert caught.value.where == "list.txt:2"


def test_an_unknown_class_has_line_and_near_miss():
    label_set = label_set_from_names("x", "x", ["kick", "pour"])
    with pytest.raises(DataError, match="did you mean 'pour'") as caught:
        list_file.read(write("a.mp4 kick\nb.mp4 puor\n"), label_set)
    assert caught.value.where == "list.txt:2"


def test_two_labels_of_one_video_are_refused_unless_the_list_is_multi_label():
    with pytest.raises(DataError, match="two labels in a single-label list") as caught:
        list_file.read(write("a.mp4 pour\nb.mp4 pour\na.mp4 kick\n"))
    assert caught.value.where == "list.txt:3"
    assert "list.txt:1" in str(caught.value)
    found = list_file.read(write("a.mp4 1 2\nb.mp4 1\n"))
    assert found.multi_label
    assert found.rows["class"].tolist() == ["1", "2", "1"]


def test_a_folder_of_lists_gives_the_splits_and_their_class_names():
    write("a/x.mp4 0\nb/y.mp4 1\n", "lists/train.txt")
    write("b/z.mp4 1\n", "lists/val_list.csv")
    write("0 pour\n1 kick\n", "lists/classes.txt")
    write("not a list", "lists/readme.txt")
    assert detect_format(Path("lists")) == "list_file"
    found = list_file.read(Path("lists"))
    assert found.rows.values.tolist() == [
        ["a/x", "a/x.mp4", "pour", "train"],
        ["b/y", "b/y.mp4", "kick", "train"],
        ["b/z", "b/z.mp4", "kick", "validation"],
    ]
    write("b/z.mp4 1\n", "lists/validation.txt")
    with pytest.raises(DataError, match="two lists of the split 'validation'"):
        list_file.read(Path("lists"))


def test_class_folders_with_and_without_splits():
    write_videos(Path("flat"), ["pour/a.mp4", "pour/#b [1].avi", "ride bike/a.mp4", "loose.mp4"])
    found = class_folders.read(Path("flat"))
    assert found.rows[["video", "class", "splits"]].values.tolist() == [
        ["pour/#b [1]", "pour", "all"],
        ["pour/a", "pour", "all"],
        ["ride bike/a", "ride bike", "all"],
    ]
    assert found.remarks == ("left out, as they are in no class folder: 1",)
    write_videos(Path("split"), ["train/pour/a.mp4", "val/pour/b.mp4"])
    found = class_folders.read(Path("split"))
    assert found.rows["splits"].tolist() == ["train", "validation"]
    assert found.rows["class"].tolist() == ["pour", "pour"]


def test_class_folders_keep_the_ending_where_nothing_else_differs():
    write_videos(Path("r"), ["pour/a.mp4", "pour/a.avi", "pour/b.avi"])
    assert class_folders.read(Path("r")).rows["video"].tolist() == [
        "pour/a.avi",
        "pour/a.mp4",
        "pour/b",
    ]


def test_a_folder_without_class_folders_says_what_to_do():
    write_videos(Path("r"), ["a.mp4"])
    with pytest.raises(DataError, match="--annotations"):
        class_folders.read(Path("r"))


def test_two_numbers_on_every_line_are_remarked_upon():
    classes = label_set_from_names("few", "few", [f"class {number}" for number in range(400)])
    Path("list.txt").write_text("a.mp4 300 0\nb.mp4 299 1\n")
    read = list_file.read(Path("list.txt"), classes)
    assert read.multi_label
    assert any("count of frames" in remark for remark in read.remarks)
    Path("list.txt").write_text("a.mp4 300 0\nb.mp4 299\n")
    assert not list_file.read(Path("list.txt"), classes).remarks
