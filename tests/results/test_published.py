"""The published figures: equal to the collected ones, each with its source, and never mixed."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import pytest
from make_records import make_record, make_values

from vclip_cli.common.errors import SpecError
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.published import HARMONIC_PART, NOTHING_FITS, PUBLISHED_FILE, architecture
from vclip_cli.results.published import load_published as read_published
from vclip_cli.results.render import FORMS, render
from vclip_cli.results.render_terminal import terminal_text
from vclip_cli.results.table import build_tables

FIGURES = Path(__file__).with_name("published_figures.csv")
DATASETS = {
    "Kinetics-400": "kinetics400", "Kinetics-600": "kinetics600", "HMDB51": "hmdb51",
    "UCF101": "ucf101", "SSv2": "ssv2", "Charades": "charades",
}  # fmt: skip
RENAMED = {
    "Vanilla CLIP (frozen)": "CLIP (as evaluated by FROSTER)",
    "Vanilla CLIP (frozen, FROSTER evaluation)": "CLIP (as evaluated by FROSTER)",
    "Vanilla CLIP (as quoted by TC-CLIP)": "CLIP (as quoted by TC-CLIP)",
}


load_published = functools.cache(read_published)


def _collected() -> list[tuple]:
    """(method, protocol, dataset, backbone, frames, shots, metric, value) of each collected row."""
    rows = []
    with FIGURES.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            kind, _, shots = row["protocol"].partition("_K")
            protocol = kind.replace("_", "-").replace("fully-supervised", "supervised")
            metric = row["metric"].removeprefix("base_").removeprefix("novel_").lower()
            part = row["metric"].partition("_top1")[0] if kind == "base_to_novel" else None
            rows.append(
                (
                    RENAMED.get(row["method"], row["method"]),
                    protocol,
                    DATASETS[row["test"]],
                    row["backbone"] or None,
                    int(row["frames"]) if row["frames"] else None,
                    int(shots) if shots else 16 if part else None,
                    part,
                    "top1" if metric == HARMONIC_PART else metric,
                    float(row["value"]),
                )
            )
    return sorted(rows, key=repr)


def _published() -> list[tuple]:
    rows = []
    for entry in load_published().entries:
        for figure in entry.figures:
            part = figure.part if entry.protocol == "base-to-novel" else None
            key = (entry.method, entry.protocol, figure.dataset, entry.backbone, entry.frames)
            rows.append((*key, figure.shots, part, figure.metric, figure.value))
            if figure.std is not None:
                rows.append((*key, figure.shots, part, f"{figure.metric}_std", figure.std))
    return sorted(rows, key=repr)


def test_every_collected_figure_stands_there_and_no_other():
    collected = _collected()
    assert len(collected) == 450
    assert _published() == collected


def test_harmonic_means_are_those_of_base_and_novel_within_rounding():
    checked = 0
    for entry in load_published().entries:
        parts: dict[str, dict[str | None, float]] = {}
        for figure in entry.figures:
            parts.setdefault(figure.dataset, {})[figure.part] = figure.value
        for values in parts.values() if entry.protocol == "base-to-novel" else ():
            base, novel, printed = values["base"], values["novel"], values[HARMONIC_PART]
            low, high = (
                2 * (base + by) * (novel + by) / (base + novel + 2 * by) for by in (-0.05, 0.05)
            )
            assert low - 0.05 - 1e-9 <= printed <= high + 0.05 + 1e-9, entry.method
            checked += 1
    assert checked == 58


def test_what_others_quote_is_of_second_hand():
    quoted = set()
    with FIGURES.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["second_hand"] and row["metric"] != "top1_std":
                quoted.add((RENAMED.get(row["method"], row["method"]), float(row["value"])))
    hands = {
        (entry.method, figure.value): entry.hand
        for entry in load_published().entries
        for figure in entry.figures
    }
    assert len(quoted) > 20
    assert {hands[key] for key in quoted} == {"second"}


def test_seed_papers_are_named_and_the_multi_label_one_has_no_figure():
    published = load_published()
    seeds = {key for key, paper in published.papers.items() if paper.seed}
    assert seeds == {"x-clip", "vifi-clip", "vita-clip", "ov-multilabel"}
    assert {entry.paper for entry in published.entries} & seeds == seeds - {"ov-multilabel"}
    own = published.of_own_methods()
    assert {"TC-CLIP", "BIKE"}.isdisjoint(entry.method for entry in own.entries)


def test_a_wrong_key_is_named_with_its_line(tmp_path):
    text = PUBLISHED_FILE.read_text(encoding="utf-8")
    broken = tmp_path / "published.yaml"
    broken.write_text(text.replace("    hand: first", "    hand: third", 1), encoding="utf-8")
    with pytest.raises(SpecError, match=r"published\.yaml:\d+: entries\.0\.hand"):
        read_published(broken)
    broken.write_text(text.replace("source: x-clip-code", "source: hearsay", 1), encoding="utf-8")
    with pytest.raises(SpecError, match="no such source: 'hearsay'"):
        read_published(broken)


def _table(*records, published=None, **options):
    loaded = [LoadedRecord(Path(f"{n}/record.json"), record) for n, record in enumerate(records)]
    (table,) = build_tables(loaded, published=published or load_published(), **options)
    return table


def _zero_shot(method, top1, frames=32):
    video = make_values()["video"] | {"frames": frames}
    return [
        make_record(method=method, dataset=dataset, split=f"test-{n}", top1=top1 + n, video=video)
        for dataset in ("hmdb51", "ucf101")
        for n in (1, 2, 3)
    ]


def _notes(table, row):
    texts = {note.mark: note.text for note in table.footnotes}
    return [texts[mark] for mark in list(table.lines())[row].marks]


def test_theirs_stand_in_a_block_of_their_own_and_are_not_ranked():
    own = load_published().of_own_methods()
    table = _table(*_zero_shot("clip", 40), *_zero_shot("x-clip", 30), published=own)
    assert [block.rows for block in table.blocks] == [2, len(table.rows) - 2]
    assert [line[0].place for line in table.cells[:2]] == [1, 2]
    assert {cell.place for line in table.cells[2:] for cell in line if cell} == {0}
    rows = {row[0]: number for number, row in enumerate(table.rows)}
    vifi = table.cells[rows["ViFi-CLIP (2023)"]]
    assert [(cell.value, cell.std) for cell in vifi] == [(51.3, 0.6), (76.8, 0.7)]
    assert not any(row[0].startswith("TC-CLIP") for row in table.rows)
    ranked = _table(*_zero_shot("clip", 40), published=own, rank_published=True)
    best = max(ranked.cells, key=lambda line: line[0].value if line[0] else 0)
    assert best[0].place == 1
    assert "together" in ranked.blocks[1].title


def test_other_settings_and_second_hand_are_footnoted():
    table = _table(*_zero_shot("vifi-clip", 40, frames=16), *_zero_shot("x-clip", 40))
    rows = {row[0]: number for number, row in enumerate(table.rows)}
    vifi = _notes(table, rows["ViFi-CLIP (2023)"])
    assert "other setting than ours: frames 32 (ours 16)" in vifi
    x_clip = _notes(table, rows["X-CLIP (2022)"])
    assert "other setting than ours: views not stated (ours 1×1)" in x_clip
    vita = list(table.lines())[rows["Vita-CLIP (2023)"]].marks
    assert vita[0].startswith("§")
    assert any(
        text.startswith("second-hand: README") for text in _notes(table, rows["Vita-CLIP (2023)"])
    )
    assert any("trained on Kinetics-400" in text for text in vifi)


def test_other_test_sets_are_footnoted():
    records = [entry for entry in _zero_shot("clip", 40) if entry.dataset.split == "test-1"]
    table = _table(*records)
    rows = {row[0]: number for number, row in enumerate(table.rows)}
    cell = table.cells[rows["ViFi-CLIP (2023)"]][0]
    texts = {note.mark: note.text for note in table.footnotes}
    assert "published over test-1, test-2, test-3; ours: test-1" in [texts[m] for m in cell.marks]


def test_base_to_novel_has_their_printed_harmonic_mean():
    records = [
        make_record(
            method="vifi-clip", protocol="base-to-novel", shots=16, split="test-1", part=part,
            seed=1, video=make_values()["video"] | {"frames": 32},
        )
        for part in ("base", "novel")
    ]  # fmt: skip
    table = _table(*records)
    line = table.cells[[row[0] for row in table.rows].index("ViFi-CLIP (2023)")]
    assert [cell.value for cell in line] == [73.8, 53.3, 61.9]


def test_columns_without_a_published_figure_say_so():
    table = _table(make_record(dataset="toy", split="test"))
    assert len(table.rows) == 1
    assert NOTHING_FITS in [note.text for note in table.footnotes]


def test_every_form_shows_both_blocks():
    table = _table(*_zero_shot("clip", 40))
    for form in (*FORMS, "term"):
        text = terminal_text([table]) if form == "term" else render([table], form)
        assert "Published figures" in text, form
        assert "51.3" in text, form


def test_architectures_are_one_whatever_their_spelling():
    assert architecture("ViT-B/16") == architecture("ViT-B-16-quickgelu") == "ViT-B-16"
    assert architecture("ViT-L/14@336px") == architecture("ViT-L-14-336")


def test_published_on_the_command_line(tmp_path, vclip):
    from vclip_cli.results.record import write_record

    for number, record in enumerate(_zero_shot("clip", 40)):
        write_record(record, tmp_path / str(number) / "record.json")
    ran = vclip("table", tmp_path, "--published", "--format", "csv")
    assert ran.code == 0, ran.err
    assert "ViFi-CLIP (2023)" in ran.out
    assert "TC-CLIP (2024)" not in ran.out
    assert "TC-CLIP (2024)" in vclip("table", tmp_path, "--all-published", "--format", "md").out
    assert vclip("table", tmp_path, "--rank-published").code == 2


def test_a_column_of_one_split_has_the_figures_over_that_split() -> None:
    joined = {"over": ["seeds"], "harmonic_mean": True}
    records = [
        make_record(
            method="vifi-clip", protocol="base-to-novel", shots=16, split=f"test-{n}", part=part,
            seed=1, aggregate=joined,
        )
        for part in ("base", "novel")
        for n in (1, 2)
    ]  # fmt: skip
    table = _table(*records)
    line = table.cells[[row[0] for row in table.rows].index("ViFi-CLIP (2023)")]
    shown = {
        column.name: cell and cell.value for column, cell in zip(table.columns, line, strict=True)
    }
    assert list(shown) == [
        "test-1 base", "test-2 base", "test-1 novel", "test-1 HM", "test-2 novel", "test-2 HM",
    ]  # fmt: skip
    assert shown["test-1 base"] == 73.8
    assert shown["test-1 novel"] == 53.3
    assert shown["test-2 base"] is None
