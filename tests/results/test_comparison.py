"""`--compare`: two methods on the same clips, and what is refused."""

import csv
import io

import numpy as np
import pytest
from make_records import make_values, measure_ranked, measure_single

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError
from vclip_cli.results.collect import collect_records
from vclip_cli.results.comparison import compare_methods
from vclip_cli.results.predictions import write_predictions
from vclip_cli.results.record import Record, write_record
from vclip_cli.results.render import render

CLASSES = ["pour", "push up", "ride bike"]


def stored(folder, name, rights, *, videos=None, labels=None, multi=False, **options):
    """A record and predictions of which exactly the videos in `rights` are right."""
    count = len(rights)
    videos = videos or [f"v{number}" for number in range(count)]
    labels = labels or [(CLASSES[number % 3],) for number in range(count)]
    rng = np.random.default_rng(len(name))
    scores = rng.uniform(0, 0.1, (count, 3)).astype(np.float32)
    for row, (names, right) in enumerate(zip(labels, rights, strict=True)):
        true = CLASSES.index(names[0])
        scores[row, true if right else (true + 2) % 3] += 0.8
    path = folder / name / "record.json"
    digest = write_predictions(path.parent / "predictions.parquet", videos, labels, scores, CLASSES)
    measure = measure_ranked if multi else measure_single
    evaluation = measure(scores, labels, CLASSES)
    values = make_values(scored=count, **options)
    values["metrics"] = {key: value.model_dump() for key, value in evaluation.metrics.items()}
    values["per_class"] = evaluation.per_class.model_dump()
    values["predictions"] = {"file": "predictions.parquet", "sha256": digest}
    write_record(Record.model_validate(values), path)
    return path


def rights(count, only):
    """All right but those in `only`."""
    return [number not in only for number in range(count)]


def test_top1_by_mcnemar(tmp_path):
    stored(tmp_path, "a", rights(60, range(0, 20)), method="clip")
    stored(tmp_path, "b", rights(60, []), method="x-clip")
    table = compare_methods(collect_records([tmp_path]), "clip", "x-clip")
    assert table.rows == (("HMDB51 1", "–", "none", "60", "0", "20"),)
    one, other, difference, p = table.cells[0]
    assert (one.value, other.value) == (pytest.approx(100 * 40 / 60), pytest.approx(100))
    assert difference.value == pytest.approx(100 / 3)
    assert difference.low < 33 < difference.high
    assert p.value == pytest.approx(2 * 0.5**20)
    assert table.number(p, table.columns[3]) == "<0.0001"
    assert "McNemar" in table.footnotes[1].text
    units = [row["unit"] for row in csv.DictReader(io.StringIO(render([table], "csv")))]
    assert units == ["%", "%", "%", ""]


def test_rows_are_found_by_id_whatever_their_order(tmp_path):
    first = rights(30, [1, 2, 3])
    stored(tmp_path, "a", first, method="clip")
    order = list(reversed(range(30)))
    stored(
        tmp_path, "b", [first[row] for row in order], method="x-clip",
        videos=[f"v{row}" for row in order], labels=[(CLASSES[row % 3],) for row in order],
    )  # fmt: skip
    table = compare_methods(collect_records([tmp_path]), "clip", "x-clip")
    assert table.rows[0][4:] == ("0", "0")
    assert table.cells[0][3].value == 1.0


def test_seeds_are_paired_and_an_untrained_method_with_each(tmp_path):
    def adapter(name, sha):
        return make_values()["adapter"] | {"name": name, "checkpoint_sha256": sha * 64}

    stored(tmp_path, "clip", rights(30, range(9)), method="clip")
    for seed in (1, 2):
        for name, wrong in (("vita-clip", seed), ("x-clip", 2 * seed)):
            stored(
                tmp_path, f"{name}{seed}", rights(30, range(wrong)), shots=4, seed=seed,
                adapter=adapter(name, str(seed)),
            )  # fmt: skip
    records = collect_records([tmp_path])
    both = compare_methods(records, "vita-clip", "x-clip")
    assert [row[1:3] for row in both.rows] == [("4", "1"), ("4", "2")]
    untrained = compare_methods(records, "clip", "x-clip")
    assert [row[1:3] for row in untrained.rows] == [("4", "none / 1"), ("4", "none / 2")]
    assert not [note for note in untrained.footnotes if "left out" in note.text]


def test_map_by_the_bootstrap(tmp_path):
    labels = [(CLASSES[row % 3], CLASSES[(row + 1) % 3]) for row in range(40)]
    stored(tmp_path, "a", rights(40, range(20)), method="clip", labels=labels, multi=True)
    stored(tmp_path, "b", rights(40, []), method="x-clip", labels=labels, multi=True)
    table = compare_methods(collect_records([tmp_path]), "clip", "x-clip")
    one, other, difference, p = table.cells[0]
    assert difference.value == pytest.approx(other.value - one.value)
    assert difference.low < difference.value < difference.high
    assert 0 <= p.value < 0.05
    assert table.rows[0][4:] == ("–", "–")


def test_other_videos_are_refused_with_a_way_out(tmp_path):
    stored(tmp_path, "a", rights(30, []), method="clip")
    stored(tmp_path, "b", rights(30, []), method="x-clip", videos=[f"v{n}" for n in range(1, 31)])
    with pytest.raises(ComparisonRefused, match="not scored on the same videos") as raised:
        compare_methods(collect_records([tmp_path]), "clip", "x-clip")
    assert "'v0'" in raised.value.found
    assert "1 scored by the first only and 1 by the second only" in raised.value.found
    assert raised.value.hint


def test_other_labels_are_refused(tmp_path):
    stored(tmp_path, "a", rights(30, []), method="clip")
    labels = [(CLASSES[(row + (row == 7)) % 3],) for row in range(30)]
    stored(tmp_path, "b", rights(30, []), method="x-clip", labels=labels)
    with pytest.raises(ComparisonRefused, match=r"different labels.*'v7'"):
        compare_methods(collect_records([tmp_path]), "clip", "x-clip")


def test_changed_and_missing_predictions_are_refused(tmp_path):
    stored(tmp_path, "a", rights(30, []), method="clip")
    path = stored(tmp_path, "b", rights(30, []), method="x-clip")
    records = collect_records([tmp_path])
    file = path.with_name("predictions.parquet")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"?")
    with pytest.raises(DataError, match="not those that the record was made from"):
        compare_methods(records, "clip", "x-clip")
    file.unlink()
    with pytest.raises(DataError, match="missing"):
        compare_methods(records, "clip", "x-clip")


def test_names_are_checked(tmp_path):
    stored(tmp_path, "a", rights(30, []), method="clip")
    stored(tmp_path, "b", rights(30, []), method="x-clip")
    records = collect_records([tmp_path])
    with pytest.raises(UsageError, match=r"no record is of a method 'xclip'.*x-clip"):
        compare_methods(records, "clip", "xclip")
    with pytest.raises(UsageError, match="with itself"):
        compare_methods(records, "clip", "clip")
    with pytest.raises(UsageError, match="unknown metric 'top6'"):
        compare_methods(records, "clip", "x-clip", "top6")


def test_a_name_for_two_rows_is_refused_and_folders_tell_them_apart(tmp_path):
    def adapter(depth):
        return make_values()["adapter"] | {"name": "x-clip", "config": {"depth": depth}}

    for depth in (1, 2):
        stored(tmp_path, f"d{depth}", rights(30, range(depth)), adapter=adapter(depth))
    stored(tmp_path, "a", rights(30, []), method="clip")
    records = collect_records([tmp_path])
    with pytest.raises(ComparisonRefused, match=r"several rows.*depth=1.*--compare FOLDER"):
        compare_methods(records, "clip", "x-clip")
    table = compare_methods(records, str(tmp_path / "d1"), str(tmp_path / "d2"))
    assert table.rows[0][4:] == ("1", "0")


def test_nothing_in_common_is_refused(tmp_path):
    stored(tmp_path, "a", rights(30, []), method="clip", seed=1)
    stored(tmp_path, "b", rights(30, []), method="x-clip", seed=2)
    with pytest.raises(ComparisonRefused, match="no seed in common"):
        compare_methods(collect_records([tmp_path]), "clip", "x-clip")
    stored(tmp_path, "c", rights(30, []), method="y", dataset="ucf101")
    with pytest.raises(ComparisonRefused, match="only"):
        compare_methods(collect_records([tmp_path]), "clip", "y")


def test_on_the_command_line(tmp_path, vclip):
    stored(tmp_path, "a", rights(30, [1, 2]), method="clip")
    stored(tmp_path, "b", rights(30, [2, 3]), method="x-clip")
    ran = vclip("table", tmp_path, "--compare", "clip", "x-clip", "--format", "md")
    assert ran.code == 0, ran.err
    assert "| 93.3 | 93.3 | 0.0 \\[" in ran.out
    assert vclip("table", tmp_path, "--compare", "clip", "x-clip", "--published").code == 2
    assert vclip("table", tmp_path, "--compare", "clip").code == 2
