import random
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from make_records import fake_sha256, make_record, make_values, store

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError
from vclip_cli.results.collect import LoadedRecord, collect_records
from vclip_cli.results.record import Record, RecordError
from vclip_cli.results.result_table import Cell, Column, ResultTable
from vclip_cli.results.table import build_tables


def load(*records):
    return [LoadedRecord(Path(f"runs/{i}/record.json"), r) for i, r in enumerate(records)]


def table_of(*records, **options):
    (table,) = build_tables(load(*records), **options)
    return table


def texts(table):
    """Each row's label and printed numbers, with places and marks."""
    lines = []
    for row, cells in zip(table.rows, table.cells, strict=True):
        shown = [
            None if c is None else (table.number(c), c.place, " ".join(c.marks)) for c in cells
        ]
        lines.append((row, shown))
    return lines


def notes(table):
    return {note.mark: note.text for note in table.footnotes}


def test_methods_in_rows_datasets_in_columns_best_and_second():
    table = table_of(
        make_record(method="x-clip", dataset="ucf101", top1=71.5),
        make_record(method="clip", dataset="ucf101", top1=69.04),
        make_record(method="vita-clip", dataset="ucf101", top1=60),
        make_record(method="clip", dataset="hmdb51", top1=43.2),
    )
    assert table.columns == (Column("HMDB51"), Column("UCF101"))
    assert table.row_headers == ("Method", "Backbone", "Frames", "Views")
    openai = "ViT-B-16 (openai)"
    assert texts(table) == [
        (("clip", openai, "8", "1×1"), [("43.2", 0, ""), ("69.0", 2, "")]),
        (("vita-clip", openai, "8", "1×1"), [None, ("60.0", 0, "")]),
        (("x-clip", openai, "8", "1×1"), [None, ("71.5", 1, "")]),
    ]
    assert table.footnotes == ()
    assert table.title.startswith("zero-shot, version 1 (")
    assert table.title.endswith("): top-1 accuracy (%)")


def test_equal_prints_share_a_place():
    table = table_of(
        make_record(method="a", top1=50.01),
        make_record(method="b", top1=50.04),
        make_record(method="c", top1=49.0),
    )
    assert [line[0].place for line in table.cells] == [1, 1, 2]


def test_splits_are_joined_to_mean_and_sample_deviation():
    values = [40.0, 44.0, 45.0]
    table = table_of(*(make_record(split=str(i), top1=v) for i, v in enumerate(values)))
    (cell,) = table.cells[0]
    assert (cell.value, cell.n) == (43.0, 3)
    assert cell.std == pytest.approx(statistics.stdev(values))
    assert table.number(cell) == "43.0 ± 2.6"
    spread = 4.302652729911275 * statistics.stdev(values) / 3**0.5  # Student's t, 2 degrees
    assert (cell.low, cell.high) == (pytest.approx(43 - spread), pytest.approx(43 + spread))
    assert notes(table) == {
        "": "mean ± sample standard deviation over 3 records (splits, parts or seeds)"
    }
    assert len(cell.records) == 3


def test_n_stands_in_each_cell_where_it_differs():
    table = table_of(
        make_record(method="a", seed=0, top1=40.0),
        make_record(method="a", seed=1, top1=42.0),
        make_record(method="b", top1=30.0),
    )
    assert [table.number(line[0]) for line in table.cells] == ["41.0 ± 1.4 (n=2)", "30.0 (n=1)"]
    assert "over n records" in notes(table)[""]


def test_a_single_record_keeps_its_interval():
    (cell,) = table_of(make_record(top1=40.0)).cells[0]
    assert (cell.low, cell.high, cell.std, cell.n) == (39.0, 41.0, None, 1)


def test_missing_splits_are_marked_and_not_ranked():
    table = table_of(
        *(make_record(method="a", split=s, top1=40.0) for s in "123"),
        make_record(method="b", split="1", top1=90.0),
        *(make_record(method="c", split=s, top1=30.0) for s in "123"),
    )
    assert [line[0].place for line in table.cells] == [1, 0, 2]
    assert notes(table)["1"] == "only 1 of 1, 2, 3; not ranked"
    assert table.cells[1][0].marks == ("1",)


def test_scored_of_listed_is_shown_where_they_differ():
    table = table_of(
        make_record(method="a", scored=1520, failed=10),
        make_record(method="b", scored=1530),
    )
    assert table.cells[0][0].marks == ("1",)
    assert table.cells[1][0].marks == ()
    assert notes(table) == {"1": "1,520 of 1,530 listed videos scored"}


def test_overrides_are_daggered():
    overrides = [{"field": "frames", "protocol": 8, "used": 16}]
    other = [{"field": "templates", "protocol": ["a {class}"], "used": ["b {class}", "c {class}"]}]
    table = table_of(
        make_record(method="a", frames=16, overrides=overrides),
        make_record(method="b", overrides=other),
        make_record(method="c", frames=16, overrides=overrides),
    )
    assert [line[0].marks for line in table.cells] == [("†",), ("††",), ("†",)]
    assert notes(table) == {
        "†": "frames: 16 instead of the protocol's 8",
        "††": "templates: b {class} | c {class} instead of the protocol's a {class}",
    }


def test_marks_of_records_and_overlap_become_footnotes():
    table = table_of(
        make_record(method="a", marks=["own remark"]),
        make_record(method="b", overlap_allowed=True, top1=99.0),
        make_record(method="c", top1=10.0),
    )
    assert notes(table)["1"] == "own remark"
    assert "--allow-overlap" in notes(table)["2"]
    assert [line[0].place for line in table.cells] == [1, 0, 2]


def test_partial_records_are_left_out_unless_asked():
    whole = make_record(method="a", top1=40.0)
    part = make_record(method="b", top1=90.0, partial=True)
    assert [row[0] for row in table_of(whole, part).rows] == ["a"]
    table = table_of(whole, part, partial=True)
    assert texts(table)[1][1] == [("90.0", 0, "‡")]
    assert "--limit" in notes(table)["‡"]
    with pytest.raises(DataError, match=r"all records are partial.*--partial"):
        build_tables(load(part))


def test_a_partial_record_is_never_averaged_with_a_whole_one():
    table = table_of(
        make_record(top1=40.0, seed=0), make_record(top1=90.0, seed=1, partial=True), partial=True
    )
    assert [row[-1] for row in table.rows] == ["partial run=False", "partial run=True"]


def test_other_protocols_are_refused_unless_grouped():
    records = load(make_record(), make_record(protocol="few-shot", shots=4))
    with pytest.raises(ComparisonRefused, match="different protocols") as raised:
        build_tables(records)
    assert raised.value.exit_code == 6
    assert {str(loaded.path) for loaded in records} == set(raised.value.where.split(", "))
    tables = build_tables(records, by_protocol=True)
    assert [table.title.split(",")[0] for table in tables] == ["few-shot", "zero-shot"]
    assert ", 4-shot:" in tables[0].title


def test_one_protocol_name_with_two_contents_is_refused():
    edited = {"name": "zero-shot", "version": 1, "sha256": fake_sha256("edited"), "shots": None}
    records = load(make_record(), make_record(method="b", protocol="zero-shot"))
    build_tables(records)
    changed = Record.model_validate(make_values(method="b") | {"protocol": edited})
    with pytest.raises(ComparisonRefused, match=fake_sha256("edited")[:12]):
        build_tables(load(make_record(), changed))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("split_sha256", fake_sha256("other"), "differ in the list of videos"),
        ("label_set", {"name": "x", "version": 1, "sha256": fake_sha256("x")}, "the label set"),
        ("classes", ["push up", "pour", "ride bike"], "the classes or their order"),
    ],
)
def test_other_test_sets_are_refused(key, value, message):
    values = make_values(method="b")
    values["dataset"][key] = value
    if key == "classes":
        values["per_class"]["values"] = [{"name": c, "value": 1, "n": 1} for c in value]
    records = load(make_record(), Record.model_validate(values))
    with pytest.raises(ComparisonRefused, match=message) as raised:
        build_tables(records)
    assert raised.value.where.count("record.json") == 2


def test_other_units_are_refused():
    values = make_values(method="b")
    values["metrics"]["top1"]["unit"] = "fraction"
    with pytest.raises(ComparisonRefused, match="different units"):
        build_tables(load(make_record(), Record.model_validate(values)))


def test_base_to_novel_with_the_harmonic_mean_of_the_means():
    records = [
        make_record(method=m, part=part, seed=seed, top1=value + seed)
        for m, shift in (("a", 0), ("b", 5))
        for part, value in (("base", 70 + shift), ("novel", 50 - 2 * shift))
        for seed in (0, 1, 2)
    ]
    table = table_of(*records)
    names = [column.name for column in table.columns]
    assert names == ["base", "novel", "HM"]
    assert {column.group for column in table.columns} == {"HMDB51"}
    harmonic = table.cells[0][2]
    assert harmonic.value == pytest.approx(2 * 71 * 51 / (71 + 51))
    assert (harmonic.std, harmonic.n) == (None, 3)
    assert [cell.place for cell in table.cells[0]] == [2, 1, 1]
    assert [cell.place for cell in table.cells[1]] == [1, 2, 2]


def test_harmonic_mean_needs_both_parts():
    table = table_of(
        make_record(method="a", part="base"),
        make_record(method="a", part="novel"),
        make_record(method="b", part="base"),
    )
    assert table.cells[1][1:] == (None, None)
    only_novel = table_of(make_record(part="novel"))
    assert [column.name for column in only_novel.columns] == ["novel"]


def test_shots_make_columns():
    table = table_of(*(make_record(shots=k, top1=40.0 + k) for k in (16, 2, 4, 8)))
    assert [column.name for column in table.columns] == ["2-shot", "4-shot", "8-shot", "16-shot"]
    assert [cell.value for cell in table.cells[0]] == [42, 44, 48, 56]


def test_frames_and_views_and_weights_make_rows():
    wide = make_values()["video"] | {"frames": 32, "views": {"clips": 4, "crops": 3}}
    other = make_values()["backbone"] | {"pretrained": "/weights/laion.safetensors"}
    table = table_of(make_record(), make_record(video=wide), make_record(backbone=other))
    assert [row[1:4] for row in table.rows] == [
        ("ViT-B-16 (laion.safetensors)", "8", "1×1"),
        ("ViT-B-16 (openai)", "8", "1×1"),
        ("ViT-B-16 (openai)", "32", "4×3"),
    ]


def test_other_settings_are_never_averaged():
    def adapter(**config):
        return make_values()["adapter"] | {"config": config}

    table = table_of(
        make_record(adapter=adapter(contexts=4, depth=1), seed=0, top1=40.0),
        make_record(adapter=adapter(contexts=16, depth=1), seed=1, top1=44.0),
        make_record(adapter=adapter(contexts=16, depth=1), seed=2, top1=46.0),
    )
    assert table.row_headers[-1] == "Settings"
    assert [(row[-1], cells[0].value, cells[0].n) for row, cells in zip(
        table.rows, table.cells, strict=True
    )] == [("contexts=16", 45.0, 2), ("contexts=4", 40.0, 1)]  # fmt: skip


def test_settings_that_follow_the_dataset_keep_one_row():
    texts_of = make_values()["prompts"] | {"texts": [["x"], ["y"], ["z"]]}
    table = table_of(make_record(), make_record(dataset="ucf101", prompts=texts_of))
    assert len(table.rows) == 1
    assert "Settings" not in table.row_headers


def test_two_trainings_with_one_seed_are_two_rows():
    def adapter(name):
        return make_values()["adapter"] | {"checkpoint_sha256": fake_sha256(name)}

    table = table_of(
        make_record(adapter=adapter("p"), top1=40.0), make_record(adapter=adapter("q"), top1=41.0)
    )
    shown = {f"checkpoint={fake_sha256(name)[:12]}" for name in "pq"}
    assert {row[-1] for row in table.rows} == shown
    seeds = table_of(
        make_record(adapter=adapter("p"), seed=1, top1=40.0),
        make_record(adapter=adapter("q"), seed=2, top1=41.0),
    )
    assert seeds.cells[0][0].n == 2


def test_a_run_found_twice_counts_once_and_a_contradiction_is_refused():
    record = make_record(top1=40.0)
    assert table_of(record, record).cells[0][0].n == 1
    with pytest.raises(ComparisonRefused, match=r"two records of one run.*40\.0000 and 41\.0000"):
        build_tables(load(record, make_record(top1=41.0)))


def test_the_order_of_the_records_changes_nothing():
    records = load(
        *(
            make_record(
                method=m, dataset=d, split=s, seed=s_, top1=float(len(m + d) + 7 * int(s) + s_),
                marks=[f"{m} {s}"] if s == "2" else [],
            )
            for m in ("clip", "x-clip", "vita-clip")
            for d in ("ucf101", "hmdb51")
            for s in ("1", "2")
            for s_ in (0, 1)
        )
    )  # fmt: skip
    expected = build_tables(records)
    for seed in range(3):
        random.Random(seed).shuffle(records)
        assert build_tables(records) == expected


def test_metrics_are_chosen_and_checked():
    assert table_of(make_record(), metric="top5").cells[0][0].value == 99.0
    with pytest.raises(UsageError, match="did you mean 'top"):
        table_of(make_record(), metric="top2")
    value = {"value": 20.0, "n": 100}
    multi = make_record(method="b", metrics={"map": value, "map_micro": value})
    assert table_of(multi).title.endswith("mAP (%)")
    with pytest.raises(UsageError, match="not every record has the metric 'top1'"):
        table_of(make_record(), multi)
    with pytest.raises(UsageError, match="not every record has the metric 'map'"):
        table_of(make_record(), multi, metric="map")


def test_records_are_collected_from_files_and_folders(tmp_path):
    one = store(tmp_path, "b/deep/er")
    two = store(tmp_path, "a", method="x-clip")
    (tmp_path / "a" / "other.json").write_text("{}")
    found = collect_records([tmp_path, one, tmp_path / "a", tmp_path / "b" / ".." / "a"])
    assert [loaded.path for loaded in found] == [two, one]
    assert found[0].record.adapter.name == "x-clip"


def test_collecting_nothing_or_damage_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"no record\.json was found"):
        collect_records([tmp_path])
    with pytest.raises(DataError, match="no such file or folder"):
        collect_records([tmp_path / "absent"])
    store(tmp_path, "good")
    (tmp_path / "record.json").write_text("{")
    with pytest.raises(RecordError, match="not valid JSON"):
        collect_records([tmp_path])


def test_a_table_refuses_ragged_lines():
    whole = ResultTable("t", "%", ("Method",), (("a",),), (Column("d"),), ((Cell(1.0),),))
    with pytest.raises(ValueError, match="does not fit"):
        replace(whole, cells=((Cell(1.0), None),))
    with pytest.raises(ValueError, match="1 rows, 0 lines"):
        replace(whole, cells=())


def test_numbered_splits_and_parts_are_repeats_others_are_columns():
    table = table_of(
        *(make_record(split=f"test-{i}", top1=40.0 + i) for i in (1, 2, 3)),
        make_record(split="full", top1=47.0),
        *(make_record(dataset="k600", split="validation", part=f"zs{i}") for i in (1, 2)),
        make_record(dataset="ucf101", split="test-1"),
    )
    shown = [
        (column.group, column.name, cell.n)
        for column, cell in zip(table.columns, table.cells[0], strict=True)
    ]
    assert shown == [
        ("HMDB51", "full", 1),
        ("HMDB51", "test", 3),
        ("UCF101", "", 1),
        ("k600", "zs", 2),
    ]


def test_a_part_alone_keeps_its_number():
    table = table_of(make_record(split="validation", part="zs2"))
    assert [column.name for column in table.columns] == ["zs2"]


def test_base_and_novel_of_different_splits_are_paired():
    table = table_of(
        make_record(dataset="toy", split="test", part="base", top1=60.0),
        make_record(dataset="toy", split="zero-shot", part="novel", top1=40.0),
    )
    assert [column.name for column in table.columns] == ["base", "novel", "HM"]
    assert table.cells[0][2].value == pytest.approx(48.0)


def test_test_sets_of_other_numbers_of_classes_are_never_averaged():
    values = make_values(split="test-2")
    values["dataset"]["classes"] = ["pour", "push up"]
    values["prompts"]["texts"] = values["prompts"]["texts"][:2]
    values["per_class"]["values"] = values["per_class"]["values"][:2]
    records = load(make_record(split="test-1"), Record.model_validate(values))
    with pytest.raises(ComparisonRefused, match="3 and 2 classes"):
        build_tables(records)
