import csv
import io
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vclip_cli.common.errors import UsageError
from vclip_cli.results.escaping import csv_text, latex, markdown, plain
from vclip_cli.results.render import FORMS, render
from vclip_cli.results.render_terminal import terminal_table, terminal_text
from vclip_cli.results.result_table import Cell, Column, Footnote, ResultTable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=16)

TABLE = ResultTable(
    title="zero-shot: top-1 accuracy (%)",
    unit="%",
    row_headers=("Method",),
    rows=(("clip",), ("x_clip",), ("vita-clip",)),
    columns=(Column("hmdb51", "base"), Column("hmdb51", "novel"), Column("ucf101", "base")),
    cells=(
        (Cell(40.04), Cell(51.25, std=2.04, n=3), None),
        (Cell(44.96, place=1, scored=9, listed=10, marks=("†", "1")), Cell(60.0, place=1), None),
        (Cell(42.0, place=2, low=41.0, high=43.0), None, Cell(1.0)),
    ),
    footnotes=(
        Footnote("", "mean ± std"),
        Footnote("†", "frames: 16 instead of the protocol's 8"),
        Footnote("1", "9 of 10 listed videos scored"),
    ),
)


def named(name):
    """A table that has this name in every place that takes one."""
    return replace(
        TABLE,
        title=name,
        rows=((name,), ("b",), ("c",)),
        columns=(Column(name, name), Column(name, "b"), Column("c", name)),
        footnotes=(Footnote("", name), Footnote("†", name), Footnote("1", name)),
    )


def test_markdown():
    assert render([TABLE], "md") == (
        "**zero-shot: top-1 accuracy (%)**\n"
        "\n"
        "| Method | hmdb51 base | hmdb51 novel | ucf101 base |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| clip | 40.0 | 51.2 ± 2.0 | – |\n"
        "| x\\_clip | **45.0**<sup>† 1</sup> | **60.0** | – |\n"
        "| vita-clip | <u>42.0</u> | – | 1.0 |\n"
        "\n"
        "mean ± std\n"
        "\n"
        "<sup>†</sup> frames: 16 instead of the protocol's 8\n"
        "\n"
        "<sup>1</sup> 9 of 10 listed videos scored\n"
    )


def test_latex():
    assert render([TABLE], "latex").splitlines()[1:] == [
        r"\begin{table}",
        r"\centering",
        r"\caption{zero-shot: top-1 accuracy (\%)}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r" & \multicolumn{2}{c}{hmdb51} & \multicolumn{1}{c}{ucf101} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}",
        r"Method & base & novel & base \\",
        r"\midrule",
        r"clip & 40.0 & 51.2 $\pm$ 2.0 & -- \\",
        r"x\_clip & \textbf{45.0}\textsuperscript{$\dagger$\ 1} & \textbf{60.0} & -- \\",
        r"vita-clip & \underline{42.0} & -- & 1.0 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\par{\footnotesize mean $\pm$ std}",
        r"\par{\footnotesize \textsuperscript{$\dagger$} frames: 16 instead of the protocol's 8}",
        r"\par{\footnotesize \textsuperscript{1} 9 of 10 listed videos scored}",
        r"\end{table}",
    ]


def test_latex_has_one_header_line_without_lower_names():
    flat = replace(TABLE, columns=(Column("a"), Column("b"), Column("c")))
    text = render([flat], "latex")
    assert "Method & a & b & c \\\\" in text
    assert "multicolumn" not in text


def test_csv_has_one_line_a_result():
    lines = list(csv.DictReader(io.StringIO(render([TABLE], "csv"))))
    assert [(r["Method"], r["dataset"], r["column"], r["value"]) for r in lines] == [
        ("clip", "hmdb51", "base", "40.04"),
        ("clip", "hmdb51", "novel", "51.25"),
        ("x_clip", "hmdb51", "base", "44.96"),
        ("x_clip", "hmdb51", "novel", "60.0"),
        ("vita-clip", "hmdb51", "base", "42.0"),
        ("vita-clip", "ucf101", "base", "1.0"),
    ]
    assert lines[1]["std"] == "2.04"
    assert (lines[2]["scored"], lines[2]["listed"], lines[2]["place"]) == ("9", "10", "1")
    assert lines[2]["notes"].count(";") == 1
    assert (lines[4]["low"], lines[4]["high"]) == ("41.0", "43.0")


def test_json_is_one_document_with_all_values():
    document = json.loads(render([TABLE, TABLE], "json"))
    assert len(document["tables"]) == 2
    table = document["tables"][0]
    assert table["cells"][0][1] | {} == {
        "value": 51.25, "std": 2.04, "n": 3, "low": None, "high": None, "scored": None,
        "listed": None, "marks": [], "place": 0, "records": [],
    }  # fmt: skip
    assert table["cells"][0][2] is None
    assert table["rows"] == [["clip"], ["x_clip"], ["vita-clip"]]


def test_terminal():
    text = terminal_text([TABLE])
    assert "\x1b" not in text
    assert re.search(r"x_clip +45\.0† ¹ +60\.0 +–", text)
    assert "† frames: 16 instead" in text
    assert text.endswith("¹ 9 of 10 listed videos scored\n")


def test_places_are_styled_on_a_terminal():
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, color_system="standard", width=100)
    console.print(terminal_table(TABLE))
    shown = console.file.getvalue()
    assert "\x1b[1m45.0\x1b[0m" in shown
    assert "\x1b[4m42.0\x1b[0m" in shown


@pytest.mark.parametrize("form", FORMS)
def test_several_tables_follow_each_other_and_bytes_are_stable(form):
    assert render([TABLE, TABLE], form) == render([TABLE, TABLE], form)
    assert len(render([TABLE, TABLE], form)) > len(render([TABLE], form))
    assert render([TABLE], form).endswith("\n")


def test_an_unknown_format_offers_the_near_one():
    with pytest.raises(UsageError, match="did you mean 'latex'"):
        render([TABLE], "latx")


@given(TEXT)
def test_plain_text_has_no_control_codes_and_is_one_line(text):
    assert plain(text).isprintable()


@pytest.mark.parametrize("evil", ["\x1b[2J", "\x9b31m", "a\rb", "a\nb", "\u202eabc", "\x07"])
def test_control_codes_reach_no_output(evil):
    for form in ("md", "csv", "latex"):
        shown = render([named(f"x{evil}y")], form)
        assert all(character == "\n" or character.isprintable() for character in shown), form
        lines = len(render([named("xy")], form).splitlines())
        assert len(shown.splitlines()) == lines
    assert all(c == "\n" or c.isprintable() for c in terminal_text([named(f"x{evil}y")]))
    assert "\x1b" not in render([named(evil)], "json")


def test_rich_markup_in_names_stays_text():
    assert "[bold]x[/bold] [link=http://a]" in terminal_text(
        [named("[bold]x[/bold] [link=http://a]")]
    )


@given(TEXT)
def test_csv_round_trips_and_starts_no_formula(name):
    lines = list(csv.reader(io.StringIO(render([named(name)], "csv"))))
    assert len(lines) == 7
    title, label = lines[1][0], lines[1][1]
    for cell in (title, label):
        assert not cell.lstrip().startswith(("=", "+", "-", "@"))
        assert cell in (plain(name), f"'{plain(name)}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("-x", "'-x"),
        ("+x", "'+x"),
        ("@x", "'@x"),
        ("\t=1", "' =1"),
        ("\r=1", "' =1"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("x-clip", "x-clip"),
        ("", ""),
    ],
)
def test_formula_guard(text, expected):
    assert csv_text(text) == expected


@given(TEXT)
def test_latex_leaves_no_active_character(text):
    escaped = latex(text)
    known = (
        r"\\[&%$#_{}]|\\text[a-z]+\{\}|\\ldots\{\}|\$\\(?:pm|times|dagger|ddagger)\$"
        r"|\{[][*]\}|''\{\}|-\{\}(?=-)"
    )
    rest = re.sub(known, "", escaped)
    assert not set(rest) & set('&%$#_{}~^\\<>|"`[]*')
    assert "--" not in rest or "-{}" in escaped
    assert "--" not in escaped


def test_latex_specials_one_by_one():
    assert latex(r"50% of a_b & {c} #1 $x^2~\y") == (
        r"50\% of a\_b \& \{c\} \#1 \$x\textasciicircum{}2\textasciitilde{}\textbackslash{}y"
    )
    assert latex("a---b") == "a-{}-{}-b"
    assert latex("[x]*") == "{[}x{]}{*}"


@given(TEXT)
def test_markdown_cells_keep_their_columns(name):
    lines = render([named(name)], "md").split("\n")
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 5
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 5


def test_markdown_markup_in_names_stays_text():
    assert markdown("<b>*x*</b> `c` [l](u) a|b $m$") == (
        r"&lt;b&gt;\*x\*&lt;/b&gt; \`c\` \[l\](u) a\|b \$m\$"
    )
