import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_records import fake_sha256, make_record, make_values

from vclip_cli.common.errors import DataError
from vclip_cli.results.record import (
    Record,
    RecordError,
    read_record,
    record_fingerprint,
    write_record,
)

TEXT = st.one_of(
    st.sampled_from(['say "hi"', "a,b", "=1+1", "-x", "é…🎬", "tab\there", "line\nend", ""]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


def edited(path, edit):
    values = make_values(failed=1)
    edit(values)
    path.write_text(json.dumps(values))
    return path


@settings(max_examples=40, deadline=None)
@given(classes=st.lists(TEXT, min_size=1, max_size=4, unique=True), name=TEXT, mark=TEXT)
def test_round_trip_of_any_names(tmp_path_factory, classes, name, mark):
    values = make_values(dataset=name, marks=[mark])
    values["dataset"]["classes"] = classes
    values["prompts"]["texts"] = [[entry] for entry in classes]
    values["per_class"]["values"] = [{"name": c, "value": None, "n": 0} for c in classes]
    record = Record.model_validate(values)
    path = tmp_path_factory.mktemp("r") / "record.json"
    write_record(record, path)
    assert read_record(path) == record
    assert record_fingerprint(read_record(path)) == record_fingerprint(record)


def test_the_written_file_is_the_values_as_they_were(tmp_path):
    path = tmp_path / "record.json"
    write_record(make_record(failed=2), path)
    assert json.loads(path.read_text()) == make_values(failed=2)


def test_the_fingerprint_ignores_timing():
    record = make_record()
    later = make_record(
        timing={
            "started": "2027-01-01T00:00:00+00:00",
            "finished": "2027-01-02T00:00:00+00:00",
            "wall_seconds": 5,
            "videos_per_second": 20,
        }
    )
    assert record_fingerprint(later) == record_fingerprint(record)


@pytest.mark.parametrize(
    "edit",
    [
        lambda v: v["package"].update(version="0.2.0"),
        lambda v: v["command"].append("--limit"),
        lambda v: v["config"].update(frames=16),
        lambda v: v["overrides"].append({"field": "frames", "protocol": 8, "used": 16}),
        lambda v: v["protocol"].update(sha256=fake_sha256("other")),
        lambda v: v["dataset"]["label_set"].update(version=2),
        lambda v: v["prompts"]["texts"][0].append("another"),
        lambda v: v["backbone"].update(quick_gelu=False),
        lambda v: v["adapter"].update(checkpoint_sha256=fake_sha256("c")),
        lambda v: v["video"]["decoder"].update(version="17"),
        lambda v: v["compute"].update(precision="bf16"),
        lambda v: v["seeds"].update(train=0),
        lambda v: v["failures"][0].update(reason="other"),
        lambda v: v.update(overlap_allowed=True),
        lambda v: v["marks"].append("mark"),
        lambda v: v["metrics"]["top1"].update(value=50.01),
        lambda v: v["per_class"]["values"][1].update(n=11),
        lambda v: v.update(predictions=None),
    ],
)
def test_the_fingerprint_sees_every_other_change(edit):
    values = make_values(failed=1)
    edit(values)
    changed = Record.model_validate(values)
    assert record_fingerprint(changed) != record_fingerprint(make_record(failed=1))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda v: v.update(surprise=1), "unknown key 'surprise'"),
        (lambda v: v["video"].update(frame=1), "unknown key 'video.frame'"),
        (lambda v: v["video"].pop("frames"), "the key 'video.frames' is missing"),
        (lambda v: v["counts"].update(scored=-1), "counts.scored"),
        (lambda v: v["counts"].update(listed=5), "counts: 100 scored and 1 failed"),
        (lambda v: v["counts"].update(listed=200), "counts: 100 scored and 1 failed"),
        (lambda v: v.update(failures=[]), "failures: 0 entries for 1 failed"),
        (lambda v: v["dataset"].update(split_sha256="abc"), "dataset.split_sha256"),
        (lambda v: v["dataset"].update(classes=["a", "a"]), "dataset.classes: a class is listed"),
        (lambda v: v["prompts"]["texts"].pop(), "prompts.texts: 2 entries for 3 classes"),
        (lambda v: v["per_class"]["values"].reverse(), "per_class.values: the classes differ"),
        (lambda v: v.update(metrics={}), "metrics"),
        (lambda v: v["metrics"]["top1"].update(value=float("nan")), "NaN is no number of JSON"),
        (lambda v: v.pop("schema_version"), "it has no schema_version"),
        (lambda v: v.update(schema_version=0), "schema_version"),
    ],
)
def test_damage_is_named_with_file_and_key(tmp_path, edit, message):
    path = edited(tmp_path / "record.json", edit)
    with pytest.raises(RecordError, match=message) as raised:
        read_record(path)
    assert str(path) in raised.value.where
    assert raised.value.exit_code == DataError.exit_code == 4


def test_a_newer_record_is_refused_clearly(tmp_path):
    path = edited(tmp_path / "record.json", lambda v: v.update(schema_version=2, novelty={}))
    with pytest.raises(RecordError, match=r"newer version.*found 2; expected at most 1; upgrade"):
        read_record(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b'{"a":\n1,}', r"record.json:2: not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
        (b"[]", "not a record of vclip"),
        (b"null", "not a record of vclip"),
    ],
)
def test_files_that_are_no_records(tmp_path, content, message):
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message):
        read_record(path)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(RecordError, match="no such record"):
        read_record(tmp_path / "record.json")
    with pytest.raises(RecordError, match="cannot be read"):
        read_record(tmp_path)


def test_a_partial_record_may_score_fewer_than_listed():
    counts = {"listed": 1000, "scored": 100, "failed": 0}
    assert make_record(partial=True, counts=counts).counts.listed == 1000
    with pytest.raises(ValueError, match="do not make 1000 listed"):
        make_record(partial=False, counts=counts)


def test_records_never_change():
    with pytest.raises(ValueError, match="frozen"):
        make_record().partial = True


def test_seed_zero_is_a_seed(tmp_path):
    path = tmp_path / "record.json"
    write_record(make_record(seed=0), path)
    assert read_record(path).seeds == {"train": 0}
    assert record_fingerprint(make_record(seed=0)) != record_fingerprint(make_record(seed=None))


def test_hashes_are_lower_case_hex():
    with pytest.raises(ValueError, match="sha256"):
        make_record(predictions={"file": "p", "sha256": fake_sha256("p").upper()})
