"""The kinds of tables that papers print, and what one row is."""

from pathlib import Path

import pytest
from make_records import fake_sha256, make_record, make_values

from vclip_cli.common.errors import ComparisonRefused
from vclip_cli.results.collect import LoadedRecord
from vclip_cli.results.record import Record
from vclip_cli.results.table import build_tables


def table_of(*records, **options):
    loaded = [LoadedRecord(Path(f"runs/{n}/record.json"), r) for n, r in enumerate(records)]
    (table,) = build_tables(loaded, **options)
    return table


def video(frames, clips=1, crops=1):
    return make_values()["video"] | {"frames": frames, "views": {"clips": clips, "crops": crops}}


def notes(table):
    return {note.mark: note.text for note in table.footnotes}


def test_columns_come_in_the_papers_order_under_the_papers_names():
    names = ("charades", "kinetics600", "mine", "ssv2", "ucf101", "hmdb51", "kinetics400")
    table = table_of(*(make_record(dataset=name) for name in names))
    assert [column.group for column in table.columns] == [
        "K400", "HMDB51", "UCF101", "SSv2", "K600", "Charades", "mine",
    ]  # fmt: skip


def test_tables_show_the_metrics_of_the_protocol_in_its_order():
    options = {"protocol": "mine", "protocol_metrics": ["top5", "mean_class_accuracy", "top1"]}
    table = table_of(make_record(**options), make_record(method="old", **options))
    assert [column.name for column in table.columns] == ["top-5", "top-1"]
    assert table.title.endswith(": top-5 accuracy, top-1 accuracy (%)")
    assert [column.name for column in table_of(make_record()).columns] == [""]  # of vclip 0.1


def test_tables_of_several_views_show_costs():
    cost = {"multiply_adds_per_view": 140_507_832_320, "multiply_adds_per_video": 1_686_093_987_840}
    adapter = make_values()["adapter"] | {"trainable_parameters": 38_880_000}
    options = {"dataset": "kinetics400", "video": video(8, 4, 3)}
    table = table_of(
        make_record(cost=cost, adapter=adapter, **options), make_record(method="old", **options)
    )
    assert table.row_headers == (
        "Method", "Backbone", "Frames", "Views", "GFLOPs", "Trainable (M)",
    )  # fmt: skip
    assert [row[4:] for row in table.rows] == [("1,686.1", "38.88"), ("–", "0.00")]
    assert any("multiply-adds" in text for text in notes(table).values())
    assert table_of(make_record(**options), costs=False).row_headers[-1] == "Views"
    assert table_of(make_record(), costs=True).row_headers[-1] == "Trainable (M)"


def joined(over, harmonic_mean=False):
    return {"aggregate": {"over": over, "harmonic_mean": harmonic_mean}}


def test_splits_are_joined_only_where_the_protocol_says_so():
    def values(over):
        table = table_of(
            *(make_record(split=f"test-{n}", top1=40.0 + n, **joined(over)) for n in (1, 2))
        )
        return [
            (column.name, cell.value, cell.n)
            for column, cell in zip(table.columns, table.cells[0], strict=True)
        ]

    assert values(["splits"]) == [("", 41.5, 2)]
    assert values(["seeds"]) == [("test-1", 41.0, 1), ("test-2", 42.0, 1)]


def test_parts_are_joined_only_where_the_protocol_says_so():
    def columns(over):
        records = [make_record(split="validation", part=f"zs{n}", **joined(over)) for n in (1, 2)]
        return [column.name for column in table_of(*records).columns]

    assert columns(["parts"]) == ["zs"]
    assert columns([]) == ["zs1", "zs2"]


def test_seeds_are_joined_only_where_the_protocol_says_so():
    def rows(over):
        table = table_of(*(make_record(seed=n, top1=40.0 + n, **joined(over)) for n in (1, 2)))
        return [
            (row[4:], cells[0].n, cells[0].value)
            for row, cells in zip(table.rows, table.cells, strict=True)
        ]

    assert rows(["seeds"]) == [((), 2, 41.5)]
    assert rows(["splits"]) == [(("train seed=1",), 1, 41.0), (("train seed=2",), 1, 42.0)]


def test_the_harmonic_mean_is_shown_only_where_the_protocol_says_so():
    def columns(harmonic_mean):
        records = [make_record(part=p, **joined([], harmonic_mean)) for p in ("base", "novel")]
        return [column.name for column in table_of(*records).columns]

    assert columns(True) == ["base", "novel", "HM"]
    assert columns(False) == ["base", "novel"]


def test_multi_label_tables_show_every_metric_that_any_record_holds():
    def metrics(**values):
        return {name: {"value": value, "n": 100} for name, value in values.items()}

    table = table_of(
        make_record(method="a", metrics=metrics(map=20.0, map_micro=30.0)),
        make_record(method="b", metrics=metrics(map=21.0, map_micro=29.0, f1_macro=15.0, own=1.0)),
    )
    names = [column.name for column in table.columns]
    assert names == ["mAP", "micro mAP", "macro F1", "own"]
    assert [cell and cell.value for cell in table.cells[0]] == [20.0, 30.0, None, None]
    assert table.title.endswith(": mAP, micro mAP, macro F1, own (%)")


def test_a_low_calibration_error_is_the_best():
    values = {"a": 3.0, "b": 9.0, "c": 5.0}
    table = table_of(
        *(
            make_record(method=m, metrics={
                "map": {"value": v, "n": 9}, "calibration_error": {"value": v, "n": 9},
            })
            for m, v in values.items()
        )
    )  # fmt: skip
    assert [line[0].place for line in table.cells] == [0, 1, 2]
    assert [line[1].place for line in table.cells] == [1, 0, 2]


def test_several_metrics_of_base_and_novel_each_have_their_mean():
    records = [
        make_record(part=part, metrics={
            "top1": {"value": 40.0 + len(part), "n": 100},
            "top5": {"value": 80.0 + len(part), "n": 100},
        })
        for part in ("base", "novel")
    ]  # fmt: skip
    table = table_of(*records, metric=["top1", "top5"])
    assert [column.name for column in table.columns] == [
        "base top-1", "novel top-1", "HM top-1", "base top-5", "novel top-5", "HM top-5",
    ]  # fmt: skip
    assert table.cells[0][5].value == pytest.approx(2 * 84 * 85 / (84 + 85))


def test_a_method_is_one_row_where_frames_follow_the_dataset():
    table = table_of(
        make_record(dataset="toy", video=video(8)),
        make_record(dataset="mine", video=video(32, 4, 3)),
        make_record(dataset="toy", method="x-clip", video=video(8)),
    )
    assert [row[0] for row in table.rows] == ["clip", "x-clip"]
    assert table.rows[0][2:] == ("8, 32", "1×1, 4×3")
    shown = {
        column.group: [notes(table)[mark] for mark in cell.marks]
        for column, cell in zip(table.columns, table.cells[0], strict=True)
        if cell
    }
    assert shown == {"mine": ["32 frames, 4×3 views"], "toy": ["8 frames"]}
    assert table.cells[1][1].marks == ()


def test_two_numbers_of_frames_on_one_dataset_are_two_rows():
    table = table_of(
        make_record(dataset="toy", video=video(8)),
        make_record(dataset="toy", video=video(32)),
        make_record(dataset="mine", video=video(32)),
    )
    assert [row[2] for row in table.rows] == ["8", "32"]
    assert [cell and cell.n for cell in table.cells[0]] == [None, 1]


def test_intervals_are_printed_when_asked_for():
    table = table_of(make_record(top1=40.0), intervals=True)
    assert table.number(table.cells[0][0]) == "40.0 [39.0, 41.0]"
    joined = table_of(*(make_record(seed=n, top1=40.0 + n) for n in range(3)), intervals=True)
    assert joined.number(joined.cells[0][0]) == "41.0 ± 1.0 [38.5, 43.5]"
    assert any("Student" in text for text in notes(joined).values())


def test_other_manifests_with_equal_lists_are_remarked_upon():
    values = make_values(method="b")
    values["dataset"]["manifest_sha256"] = fake_sha256("another")
    table = table_of(make_record(), Record.model_validate(values))
    assert fake_sha256("another")[:12] in notes(table)[""]


@pytest.mark.parametrize(
    "records",
    [
        [make_record(), make_record(protocol="few-shot")],
        [make_record(top1=40.0), make_record(top1=41.0)],
    ],
)
def test_every_refusal_names_the_files_and_a_way_out(records):
    with pytest.raises(ComparisonRefused) as raised:
        table_of(*records)
    assert raised.value.where.count("record.json") == 2
    assert raised.value.hint
