"""Readers found by file name, and formats recognised by what lies in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.data.readers import detect_format, list_readers, load_reader

OFFICIAL = {"ucf101", "hmdb51", "kinetics", "ssv2", "charades"}


def test_readers_are_found_by_file_name() -> None:
    assert set(list_readers()) >= OFFICIAL
    assert not [name for name in list_readers() if name.startswith("_")]


@pytest.mark.parametrize("name", sorted(list_readers()))
def test_every_reader_keeps_the_contract(name: str, tmp_path: Path) -> None:
    reader = load_reader(name)
    assert reader.TITLE
    assert reader.LABEL_SET is None or isinstance(reader.LABEL_SET, str)
    assert reader.detects(tmp_path) is False
    with pytest.raises(DataError):
        reader.read(tmp_path)


def test_names_with_hyphens_and_near_misses() -> None:
    assert load_reader("list-file") is load_reader("list_file")
    with pytest.raises(UsageError, match="hmdb51"):
        load_reader("hmdb")


def test_nothing_is_recognised_in_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no known annotation format"):
        detect_format(tmp_path)


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_a_folder_that_may_not_be_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match="Permission denied"):
        load_reader(name).read(tmp_path)


@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_a_path_that_does_not_exist(name: str, tmp_path: Path) -> None:
    reader = load_reader(name)
    assert not reader.detects(tmp_path / "gone")
    with pytest.raises(DataError, match="list was found here"):
        reader.read(tmp_path / "gone")


FILES = {
    "ucf101": ("trainlist01.txt", "Archery/v_Archery_g01_c01.avi 3\n"),
    "hmdb51": ("wave_test_split1.txt", "a_wave_0.avi 1 \n"),
    "kinetics": ("val.csv", "label,youtube_id,time_start,time_end,split\nyoga,a,1,11,val\n"),
    "ssv2": (
        "validation.json",
        '[\n{"id":"1","label":"x","template":"Closing [something]","placeholders":["x"]}\n]\n',
    ),
    "charades": ("Charades_v1_test.csv", "id,actions\nAAAAA,c000 0.0 1.0\n"),
}


@pytest.mark.parametrize("name", sorted(FILES))
def test_official_formats_come_before_general_ones(name: str, tmp_path: Path) -> None:
    """A folder that also holds videos and a plain list is still the official one."""
    file, text = FILES[name]
    (tmp_path / file).write_text(text)
    (tmp_path / "train.txt").write_text("a.mp4 0\n")
    (tmp_path / "yoga").mkdir()
    (tmp_path / "yoga" / "a.mp4").write_bytes(b"")
    assert detect_format(tmp_path) == name
    assert detect_format(tmp_path / file) == name
    assert len(load_reader(name).read(tmp_path).rows) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ucf101", "\n"),
        ("hmdb51", ""),
        ("kinetics", "label,youtube_id,time_start,time_end,split\n"),
        ("ssv2", "[]"),
        ("charades", "id,actions\n"),
    ],
)
def test_lists_that_name_no_video(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / FILES[name][0]).write_text(text)
    with pytest.raises(DataError, match="the lists name no video"):
        load_reader(name).read(tmp_path)


def test_a_csv_of_another_kind_is_not_kinetics(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("video,class\na.mp4,yoga\n")
    assert not load_reader("kinetics").detects(tmp_path)


def test_a_json_of_another_kind_is_not_ssv2(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{"id": "1"}')
    assert not load_reader("ssv2").detects(tmp_path)
