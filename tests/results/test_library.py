"""`table` as a function: the options of `vclip table`, and everything that its result gives."""

from __future__ import annotations

import csv
import io
import json

import pandas as pd
import pytest
from make_records import store

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError
from vclip_cli.results.table import table


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, value in (("1", 40.0), ("2", 44.0)):
        store(tmp_path / "runs", f"clip-{split}", split=split, top1=value)
        store(tmp_path / "runs", f"x-clip-{split}", method="x-clip", split=split, top1=value + 5)
    return tmp_path / "runs"


def test_the_default_folder_is_runs(runs):
    assert table() == table("runs") == table(["runs"]) == table([runs / "clip-1", runs])


def test_every_form_is_what_the_command_line_writes(runs, vclip):
    found = table()
    for form, text in {
        "term": found.to_text(),
        "md": found.to_markdown(),
        "csv": found.to_csv(),
        "latex": found.to_latex(),
        "html": found.to_html(),
        "json": found.to_json(),
    }.items():
        ran = vclip("table", "runs", "--format", form, "--out", "t")
        assert ran.code == 0, ran.err
        assert (runs.parent / "t").read_text(encoding="utf-8") == text, form


def test_a_frame_has_the_rows_of_the_csv_file_with_numbers(runs):
    found = table()
    frame = found.to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["Method"]) == ["clip", "x-clip"]
    assert list(frame["value"]) == [42.0, 47.0]
    assert frame["n"].tolist() == [2, 2]
    (header, *rows) = csv.reader(io.StringIO(found.to_csv()))
    assert header == list(frame.columns)
    assert len(rows) == len(frame)


def test_a_notebook_shows_the_table(runs):
    found = table()
    assert repr(found).startswith("zero-shot, version 1")
    assert "47.0 ± 2.8" in repr(found)
    shown = found._repr_html_()
    assert shown.startswith("<div") and "<html" not in shown and "x-clip" in shown


def test_partial_records_are_counted_and_shown_on_request(runs):
    store(runs, "part", method="part", partial=True)
    assert table().left_out == 1
    every = table(partial=True)
    assert every.left_out == 0
    assert "part" in every.to_frame()["Method"].tolist()


def test_options_are_those_of_the_verb(runs):
    assert table(metric="top5").tables == table(metric=["top5"]).tables
    assert table(costs=True).tables[0].row_headers[-1] == "Trainable (M)"
    assert "[" in table(intervals=True).to_markdown()
    published = table(published=True).tables[0].blocks[1].title
    assert "Published" in published
    store(runs, "few", protocol="few-shot")
    with pytest.raises(ComparisonRefused, match="different protocols"):
        table()
    both = table(by_protocol=True)
    assert len(both.tables) == 2
    assert len(json.loads(both.to_json())["tables"]) == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"paths": ["absent"]}, DataError, "no such file or folder"),
        ({"metric": "top6"}, UsageError, "did you mean"),
        ({"rank_published": True}, UsageError, "needs --published"),
        ({"compare": ("clip", "x-clip"), "published": True}, UsageError, "--compare"),
        ({"compare": ("clip", "clip")}, UsageError, "with itself"),
    ],
)
def test_options_that_do_not_fit_are_refused(runs, options, error, message):
    with pytest.raises(error, match=message):
        table(**options)
