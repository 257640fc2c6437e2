import json
import subprocess
import sys

import pytest
from make_records import store

from vclip_cli.__main__ import run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for split, value in (("1", 40.0), ("2", 44.0)):
        store(tmp_path / "runs", f"clip-{split}", split=split, top1=value)
        store(tmp_path / "runs", f"x-clip-{split}", method="x-clip", split=split, top1=value + 5)
    return tmp_path / "runs"


def test_stdout_carries_the_table_only(runs, capsys):
    store(runs, "part", method="part", partial=True)
    assert run(["table", "--format", "md"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("**zero-shot")
    assert "| x-clip | ViT-B-16 (openai) | 8 | 1×1 | **47.0 ± 2.8** |" in output.out
    assert "| part |" not in output.out
    assert "1 partial record was left out; --partial shows them" in output.err


def test_partial_records_are_shown_when_asked(runs, capsys):
    store(runs, "part", method="part", split="1", partial=True)
    assert run(["table", str(runs), "--partial", "--format", "csv"]) == 0
    output = capsys.readouterr()
    assert ",part," not in output.err
    assert "partial: scored with --limit" in output.out


@pytest.mark.parametrize("form", ["term", "md", "csv", "latex", "json"])
def test_out_writes_what_stdout_would_show(runs, tmp_path, capsys, form):
    assert run(["table", str(runs), "--format", form]) == 0
    shown = capsys.readouterr().out
    assert run(["table", str(runs), "--format", form, "--out", "t.txt"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert "wrote t.txt" in output.err
    written = (tmp_path / "t.txt").read_text(encoding="utf-8")
    assert [line.rstrip() for line in shown.splitlines()] == written.splitlines()


def test_json_option_is_the_json_format(runs, capsys):
    assert run(["table", "--json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    assert [row[0] for row in table["rows"]] == ["clip", "x-clip"]
    assert table["cells"][0][0]["n"] == 2


def test_metric(runs, capsys):
    assert run(["table", "--metric", "top5", "--format", "md"]) == 0
    assert "top-5 accuracy" in capsys.readouterr().out
    assert run(["table", "--metric", "top6"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_mixed_protocols_exit_with_6_and_name_the_files(runs, capsys):
    store(runs, "few", protocol="few-shot")
    assert run(["table"]) == 6
    output = capsys.readouterr()
    assert output.out == ""
    assert "few" in output.err
    assert "--by-protocol" in output.err
    assert run(["table", "--by-protocol", "--format", "md"]) == 0
    assert capsys.readouterr().out.count("top-1 accuracy") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent"], 4, "no such file or folder"),
        (["empty"], 4, "no record.json was found"),
        (["--format", "xlsx"], 2, "unknown format 'xlsx'"),
    ],
)
def test_errors_have_codes_and_leave_stdout_empty(runs, tmp_path, capsys, arguments, code, message):
    (tmp_path / "empty").mkdir()
    assert run(["table", *arguments]) == code
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err


def test_table_loads_no_torch(runs):
    code = (
        "import sys; from vclip_cli.__main__ import run; code = run(['table', '--format', 'md']);"
        "heavy = {'torch', 'open_clip', 'cv2', 'av'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=runs.parent, capture_output=True)
    assert done.returncode == 0, done.stderr
