"""HTML pages as a browser and a screen reader take them, LaTeX as pdflatex does, wide tables."""

from __future__ import annotations

import functools
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from make_records import make_record, make_values, store

from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.published import load_published
from vclip_cli.results.render import FORMS, render
from vclip_cli.results.render_terminal import terminal_text
from vclip_cli.results.result_table import Block, Cell, Column, Footnote, ResultTable
from vclip_cli.results.table import build_tables

TABLE = ResultTable(
    title="zero-shot: top-1",
    unit="%",
    row_headers=("Method", "Frames"),
    rows=(("clip", "8"), ("x-clip", "8"), ("theirs", "–")),
    columns=(Column("HMDB51", "base"), Column("HMDB51", "novel"), Column("UCF101", "base")),
    cells=(
        (Cell(40.0, place=2, marks=("†",)), Cell(51.0), None),
        (Cell(45.0, place=1), Cell(60.0), Cell(3.0, low=2.0, high=4.0)),
        (Cell(46.0, n=0), None, None),
    ),
    footnotes=(Footnote("", "general"), Footnote("†", "frames: 16"), Footnote("§", "quoted")),
    blocks=(Block("", 2), Block("Published", 1)),
    row_marks=((), (), ("§",)),
)


class Page(HTMLParser):
    """Counts tags, keeps ids and links, and insists that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_html_is_one_accessible_page():
    text = render([TABLE, TABLE], "html")
    page = Page(text)
    assert len(page.named("table")) == len(page.named("caption")) == 2
    assert {header.get("scope") for header in page.named("th")} == {
        "col", "colgroup", "row", "rowgroup",
    }  # fmt: skip
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.named("a")]
    assert len(links) == 4
    assert {link.removeprefix("#") for link in links} <= set(ids)
    for attribute in ("src", "href"):
        assert not [a for _, a in page.tags if str(a.get(attribute, "#"))[0] != "#"]
    assert not page.named("script")
    assert "<strong>45.0</strong>" in text
    assert "<u>40.0</u>" in text
    assert text.count("(best)") == 2
    assert "prefers-color-scheme" in text
    assert page.named("html")[0]["lang"] == "en"


def test_html_columns_line_up():
    page = render([TABLE], "html")
    body = page.partition("<tbody>")[2]
    rows = [line for line in body.splitlines() if line.startswith("<tr>")]
    assert [row.count("<t") - 1 for row in rows if "rowgroup" not in row] == [5, 5, 5]
    assert 'colspan="5"' in next(row for row in rows if "rowgroup" in row)


@example('<b onclick="x">&amp;</b>')
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=16))
def test_names_in_html_stay_text(name):
    table = replace(TABLE, title=name, rows=((name, name), ("b", name), (name, "c")))
    tags = [tag for tag, _ in Page(render([TABLE], "html")).tags]
    assert [tag for tag, _ in Page(render([table], "html")).tags] == tags


def test_blocks_and_row_marks_stand_in_every_form():
    assert "| *Published* |" in render([TABLE], "md")
    assert "| theirs<sup>§</sup> |" in render([TABLE], "md")
    latex = render([TABLE], "latex")
    assert r"\multicolumn{5}{l}{\emph{Published}} \\" in latex
    assert r"theirs\textsuperscript{\textsection{}} & \textendash{}" in latex
    lines = render([TABLE], "csv").splitlines()
    assert lines[-1].endswith(",Published,quoted")
    assert "theirs §" in terminal_text([TABLE])


def test_wide_tables_are_neither_cut_nor_folded_off_a_terminal(tmp_path, vclip):
    for number in range(40):
        store(tmp_path, str(number), dataset=f"a-dataset-with-a-long-name-{number:02}", top1=number)
    ran = vclip("table", tmp_path)
    assert ran.code == 0
    head = next(line for line in ran.out.splitlines() if "Method" in line)
    row = next(line for line in ran.out.splitlines() if line.startswith("  clip"))
    assert [f"a-dataset-with-a-long-name-{n:02}" in head for n in range(40)] == [True] * 40
    assert row.split()[-40:] == [f"{number:.1f}" for number in range(40)]


@functools.cache
def published():
    return load_published()


def _tables():
    """One of each kind, with published figures, awkward names and every kind of mark."""

    def video(frames):
        return make_values()["video"] | {"frames": frames}

    kinds = {
        "zero-shot": [make_record(dataset=d, method=m, split=f"test-{n}", top1=40.0 + n, failed=1)
                      for d in ("hmdb51", "ucf101") for m in ("clip", "a_b&c%#") for n in (1, 2)],
        "base-to-novel": [make_record(protocol="base-to-novel", split="test-1", part=p, shots=16,
                                      seed=s, video=video(32))
                          for p in ("base", "novel") for s in (1, 2, 3)],
        "few-shot": [make_record(protocol="few-shot", split="test-1", shots=k, seed=1,
                                 overrides=[{"field": "frames", "protocol": 8, "used": [1]}])
                     for k in (2, 4, 8, 16)],
        "supervised": [make_record(protocol="supervised", dataset="kinetics400",
                                   split="validation", video=video(f)) for f in (8, 16)],
        "multi-label": [make_record(protocol="multi-label", dataset="charades", split="test",
                                    metrics={"map": {"value": 20.0, "n": 9}},
                                    overlap_allowed=True)],
    }  # fmt: skip
    tables = []
    for records in kinds.values():
        loaded = [LoadedRecord(Path(f"{n}.json"), record) for n, record in enumerate(records)]
        tables += build_tables(loaded, intervals=True, published=published())
    return tables


@pytest.mark.parametrize("form", FORMS)
def test_every_kind_in_every_form_twice_the_same(form):
    tables = _tables()
    assert len(tables) == 5
    assert render(tables, form) == render(_tables(), form)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_of_every_kind_compiles(tmp_path):
    document = [
        r"\documentclass{article}", r"\usepackage[T1]{fontenc}", r"\usepackage{booktabs}",
        r"\usepackage{graphicx}", r"\extrafloats{20}", r"\begin{document}",
        render(_tables(), "latex"), r"\end{document}",
    ]  # fmt: skip
    (tmp_path / "tables.tex").write_text("\n".join(document), encoding="utf-8")
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "tables.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, errors="replace",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
