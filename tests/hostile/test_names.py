"""Names that somebody made to do harm where they are printed; records and predictions likewise."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_clips import write_clip
from make_records import make_values, store

from vclip_cli.cli.console import show, show_error
from vclip_cli.common.errors import DataError, VclipError
from vclip_cli.results.escaping import csv_text
from vclip_cli.results.predictions import (
    read_predictions,
    write_predictions,
)

NAMES = {
    "HTML": "<script>alert(1)</script>",
    "HTML attribute": '"><img src=x onerror=alert(1)>',
    "LaTeX": r"\input{/etc/passwd}\write18{mkdir canary}%$^^5c",
    "formula": "=cmd|' /C calc'!A0",
    "formula after a blank": " +HYPERLINK(1)",
    "formula at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "formula minus": "-2+3+cmd|' /C calc'!A0",
    "screen": "\x1b[2J\x1b[1;1Hall is well",
    "title": "\x1b]0;evil\x07",
    "link": "\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\",
    "eight bits": "\x9b31mred",
    "backspace": "good\b\b\b\bevil",
    "return": "evil\rgood",
    "right to left": "abc\u202egpm.exe",
    "isolate": "\u2066\u2069abc",
    "no width": "dog\u200b\u200d\ufeff",
    "line separator": "a\u2028b",
    "markup": "[bold red]x[/]",
    "markup unbalanced": "[/nothing]",
    "emoji": ":skull:",
    "Markdown": "a | b](http://evil) `x` ![y](z)",
}
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What a terminal or an eye obeys: control codes, and characters without a shape."""


def _harmless(*printed: str) -> None:
    for text in printed:
        assert not OBEYED.search(text), repr(OBEYED.search(text))


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_labels_and_titles_on_the_terminal(vclip: Callable, name: str) -> None:
    """In tables, in JSON and in errors: as text, with nothing to obey in it."""
    folder = Path(".vclip/label_sets")
    folder.mkdir(parents=True)
    entry = {"name": name.strip()} if name.isprintable() else {"name": "x", "texts": {"t": name}}
    content = {"name": "mine", "title": name, "version": 1, "classes": [entry, {"name": "y"}]}
    (folder / "mine.yaml").write_text(json.dumps(content))
    for command in (
        ("labels", "list"),
        ("labels", "list", "--json"),
        ("labels", "show", "mine", "--text", "t" if "texts" in entry else "natural"),
        ("labels", "show", "mine", "--json"),
    ):
        ran = vclip(*command)
        assert ran.code == 0, ran.err
        _harmless(ran.out, ran.err)
    ran = vclip("labels", "show", name)
    assert ran.code == 2
    _harmless(ran.err)
    ran = vclip("predict", f"x{name}.mp4", "-l", "a,b", "--backbone", "toy")
    assert ran.code == 4 and "no such video" in ran.err
    _harmless(ran.err)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_tables_of_records(vclip: Callable, name: str) -> None:
    values = make_values(method=name, dataset=name, split=name, marks=[name])
    path = Path("runs/a/record.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(values))
    printed = {form: vclip("table", "--format", form) for form in ("term", "md", "csv", "latex")}
    for ran in printed.values():
        assert ran.code == 0, ran.err
        _harmless(ran.out, ran.err)
    assert "<script" not in printed["md"].out and "<img" not in printed["md"].out
    latex = printed["latex"].out
    assert not re.search(r"\\(input|write18)", latex) and "^^" not in latex
    for line in printed["csv"].out.splitlines()[1:]:
        for cell in re.split(r'(?:^|,)"?', line):
            assert not cell.lstrip().startswith(("=", "+", "@")), line
    ran = vclip("table", "--json")
    assert json.loads(ran.out) is not None
    _harmless(ran.out)


def test_a_terminal_gets_no_code_from_any_table(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    for name in NAMES.values():
        table = Table(name, "value", title=name)
        table.add_row(name, name)
        show(table)
        show(name)
        show_error(VclipError(name, where=name, found=f"{name}\nerror: forged", hint=name))
    printed = capsys.readouterr()
    _harmless(printed.out, printed.err)
    assert printed.err.count("\nerror: ") == len(NAMES) - 1
    assert "[/nothing]" in printed.out and ":skull:" in printed.out


def test_an_endless_error_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(VclipError("x" * 10_000_000, found="y" * 10_000_000))
    assert len(capsys.readouterr().err) < 10_000


def test_class_folders_and_files_with_such_names(vclip: Callable) -> None:
    """What a scraped folder may hold; a name with a line break is left out with a remark."""
    for number, name in enumerate(NAMES.values()):
        folder = Path("videos") / name.strip().replace("/", "_").replace("\\", "_")
        if not name.isprintable():
            folder = Path("videos/plain")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name.replace('/', '_')}{number}.mp4").write_bytes(b"x")
    for command in (
        ("data", "add", "mine", "--videos", "videos"),
        ("data", "list"),
        ("data", "check", "mine"),
        ("data", "check", "mine", "--json"),
    ):
        ran = vclip(*command)
        assert ran.code in (0, 4), ran.err
        assert "fault of vclip" not in ran.err
        _harmless(ran.out, ran.err)


def test_predicted_names(vclip: Callable) -> None:
    Path("folder").mkdir()
    clip = write_clip(Path("folder/clip.mp4"), 4).rename("folder/\x1b[2J\u202e=1.mp4")
    texts = [name.replace(",", "") for name in NAMES.values()]
    labels = ",".join(text for text in texts if not re.search("[\x00-\x1f\x7f-\x9f]", text))
    ran = vclip("predict", clip, "-l", "a,b\x1b[2J", "--backbone", "toy")
    assert ran.code == 2 and "control characters" in ran.err
    _harmless(ran.err)
    for more in ((), ("--json",)):
        ran = vclip("predict", clip, "-l", labels, "--backbone", "toy", "--frames", 2, *more)
        assert ran.code == 0, ran.err
        _harmless(ran.out, ran.err)


def _change(values: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**values, **changes}


HOSTILE_RECORDS: dict[str, str] = {
    "number beyond all": json.dumps(make_values()).replace('"n": 100', '"n": 1e999'),
    "digits": json.dumps(make_values()).replace('"n": 100', '"n": ' + "9" * 10_000),
    "not a number": json.dumps(make_values()).replace("50.0", "NaN", 1),
    "infinite": json.dumps(make_values()).replace("50.0", "-Infinity", 1),
    "endless name": json.dumps(make_values(method="x" * 10_000_000)),
    "half a pair": json.dumps(make_values(method="\ud800")),
    "deep config": json.dumps(_change(make_values(), config="@")).replace(
        '"@"', "[" * 900 + "]" * 900
    ),
    "very deep": "[" * 1_000_000,
    "list": "[1, 2]",
    "text": '"record"',
    "config is a list": json.dumps(_change(make_values(), config=[1])),
    "classes of numbers": json.dumps(
        _change(make_values(), dataset={**make_values()["dataset"], "classes": [1, 2]})
    ),
    "negative counts": json.dumps(
        _change(make_values(), counts={"listed": -1, "scored": -1, "failed": 0})
    ),
    "booleans": json.dumps(make_values()).replace("50.0", "true", 1),
    "predictions elsewhere": json.dumps(
        _change(make_values(), predictions={"file": "../../x", "sha256": "0" * 64})
    ),
    "empty": "",
    "cut": json.dumps(make_values())[:-200],
    "bytes": "\udcff",
}


@pytest.mark.parametrize("case", HOSTILE_RECORDS)
def test_records_that_make_no_sense(vclip: Callable, tmp_path: Path, case: str) -> None:
    store(Path("runs"), "good")
    path = Path("runs/bad/record.json")
    path.parent.mkdir()
    path.write_text(HOSTILE_RECORDS[case], encoding="utf-8", errors="surrogateescape")
    started = time.process_time()
    for form in ("term", "json"):
        ran = vclip("table", "--format", form)
        assert ran.code == 4, ran.err
        assert ran.out == "" and ran.err.count("error:") == 1
        assert "record.json" in ran.err and "fault of vclip" not in ran.err
    assert time.process_time() - started < 5


def _parquet(path: Path, columns: dict[str, Any], **options: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), path, **options)


def _bomb(path: Path) -> None:
    """Twelve million rows of one text: kilobytes on disk."""
    import pyarrow as pa

    indices = pa.array(np.zeros(12_000_000, np.int8))
    text = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * 1000]))
    _parquet(path, {"video": text}, compression="zstd")


def _footer(path: Path) -> None:
    write_predictions(path, ["a"], [["x"]], np.ones((1, 2)), ["x", "y"])
    data = bytearray(path.read_bytes())
    data[-8:-4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(data)


GOOD = {"video": ["a"], "labels": [["x"]], "score: x": [0.5]}
HOSTILE_PARQUET: dict[str, Callable[[Path], None]] = {
    "bomb": _bomb,
    "footer beyond the file": _footer,
    "random": lambda path: path.write_bytes(b"PAR1" + bytes(range(256)) * 8 + b"PAR1"),
    "empty": lambda path: path.write_bytes(b""),
    "magic alone": lambda path: path.write_bytes(b"PAR1PAR1"),
    "scores of text": lambda path: _parquet(path, {**GOOD, "score: x": ["0.5"]}),
    "labels of text": lambda path: _parquet(path, {**GOOD, "labels": ["x"]}),
    "labels of numbers": lambda path: _parquet(path, {**GOOD, "labels": [[1]]}),
    "videos of numbers": lambda path: _parquet(path, {**GOOD, "video": [1]}),
    "missing score": lambda path: _parquet(path, {**GOOD, "score: x": [None]}),
    "missing label": lambda path: _parquet(path, {**GOOD, "labels": [["x", None]]}),
    "no scores": lambda path: _parquet(path, {"video": ["a"], "labels": [["x"]]}),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("case", HOSTILE_PARQUET)
def test_predictions_that_make_no_sense(case: str) -> None:
    path = Path("predictions.parquet")
    HOSTILE_PARQUET[case](path)
    with pytest.raises(DataError) as raised:
        read_predictions(path)
    assert raised.value.where == str(path)


def test_formulas_stay_text_in_any_disguise() -> None:
    for start in ("=", "+", "-", "@", "\t=", "\r=", "\n=", " =", "＝", "\u200b="):
        cell = csv_text(f"{start}cmd|' /C calc'!A0")
        assert not cell.lstrip().startswith(("=", "+", "-", "@", "＝"))
