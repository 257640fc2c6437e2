"""The Something-Something v2 JSON lists under their old and their new names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vclip_cli.common.errors import DataError
from vclip_cli.data.readers import ssv2

SPINNING = {
    "id": "74225",
    "label": "spinning cube that quickly stops spinning",
    "template": "Spinning [something] that quickly stops spinning",
    "placeholders": ["cube"],
}
PHRASE = {
    "id": "42",
    "label": "taking one cup of many",
    "template": "Taking [one of many similar things on the table]",
    "placeholders": ["one cup"],
}
COMMAS = {
    "id": "7",
    "label": "putting a, b and c on the table",
    "template": "Putting [something], [something] and [something] on the table",
    "placeholders": ["a", "b", "c"],
}


def write(file: Path, records: list[Any]) -> Path:
    lines = ",\n".join(json.dumps(record) for record in records)
    file.write_text(f"[\n{lines}\n]\n")
    return file


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_old_and_new_names(tmp_path: Path, prefix: str) -> None:
    write(tmp_path / f"{prefix}train.json", [PHRASE, COMMAS])
    write(tmp_path / f"{prefix}validation.json", [SPINNING])
    write(tmp_path / f"{prefix}test.json", [{"id": "1420"}])
    assert ssv2.detects(tmp_path)
    annotations = ssv2.read(tmp_path)
    rows = annotations.rows
    assert list(rows["video"]) == ["42", "7", "74225", "1420"]
    assert list(rows["class"]) == [
        "Taking one of many similar things on the table",
        "Putting something, something and something on the table",
        "Spinning something that quickly stops spinning",
        "",
    ]
    assert list(rows["splits"]) == ["train", "train", "validation", "test"]
    assert annotations.label_set == "ssv2"
    assert any("1 test videos have no class" in remark for remark in annotations.remarks)


def test_the_labels_folder_of_the_newer_download(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.mkdir()
    write(labels / "validation.json", [SPINNING])
    write(labels / "test.json", [{"id": "208583"}])
    answers = "208583;Moving something closer to something\n"
    (labels / "test-answers.csv").write_text(answers)
    (labels / "labels.json").write_text('{"Closing something": "5"}')
    rows = ssv2.read(tmp_path).rows
    assert list(rows["class"]) == [
        "Spinning something that quickly stops spinning",
        "Moving something closer to something",
    ]


def test_validation_alone_is_read_with_a_remark(tmp_path: Path) -> None:
    file = write(tmp_path / "validation.json", [SPINNING])
    for path in (tmp_path, file):
        remarks = ssv2.read(path).remarks
        assert "no list of train, test" in remarks
        assert "validation: 1 videos are listed, officially 24,777" in remarks


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"id": "1", "template": "Spining [something]"}, "unknown class 'Spining something'"),
        ({"id": "1"}, 'expected "id" and "template"'),
        ({"id": "", "template": "Closing [something]"}, "not a record"),
        ({"id": "1", "template": ["Closing"]}, "not a record"),
        ({"id": "../1", "template": "Closing [something]"}, "does not stay inside"),
        ({"id": "74225", "template": "Closing [something]"}, "two classes"),
    ],
)
def test_damaged_records_are_named(tmp_path: Path, record: Any, what: str) -> None:
    file = write(tmp_path / "validation.json", [SPINNING, record])
    with pytest.raises(DataError, match=what) as caught:
        ssv2.read(tmp_path)
    assert caught.value.where == f"{file}:3"


def test_a_record_that_is_none(tmp_path: Path) -> None:
    file = write(tmp_path / "validation.json", [SPINNING, "74226"])
    with pytest.raises(DataError, match=f"{file.name}: not a record"):
        ssv2.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[\n{"id": "1",\n]', "validation.json:3: not valid JSON"),
        ('{"id": "1"}', "not a list of videos"),
        ("[" * 100_000, "not valid JSON|nested too deeply"),
    ],
)
def test_damaged_files(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "validation.json").write_text(text)
    with pytest.raises(DataError, match=what):
        ssv2.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("1420\n", "not an answer"),
        ("1420;Closing somethin\n", "did you mean 'Closing something'"),
        ("1420;Closing something\n1420;Opening something\n", "two classes"),
    ],
)
def test_damaged_answers(tmp_path: Path, text: str, what: str) -> None:
    write(tmp_path / "something-something-v2-test.json", [{"id": "1420"}])
    (tmp_path / "test-answers.csv").write_text(text)
    with pytest.raises(DataError, match=what) as caught:
        ssv2.read(tmp_path)
    assert caught.value.where is not None and "test-answers.csv:" in caught.value.where


def test_numbers_as_ids_are_taken(tmp_path: Path) -> None:
    write(tmp_path / "validation.json", [{**SPINNING, "id": 74225}])
    assert list(ssv2.read(tmp_path).rows["video"]) == ["74225"]
