import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vclip_cli.common.errors import DataError
from vclip_cli.results.predictions import read_predictions, write_predictions

TEXT = st.one_of(
    st.sampled_from(
        ["video", "labels", "score: video", "a,b", 'say "hi"', "=1+1", "-x", "é…🎬", ""]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
SCORES = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], dtype=np.float32)
CLASSES = ["video", "a.b", "c"]


def write(path, **changes):
    options = {
        "videos": ["x#1", "y"],
        "labels": [("c",), ()],
        "scores": SCORES,
        "classes": CLASSES,
    } | changes
    return write_predictions(path, **options)


@settings(max_examples=40, deadline=None)
@given(
    videos=st.lists(TEXT, min_size=1, max_size=4, unique=True),
    classes=st.lists(TEXT, min_size=1, max_size=4, unique=True),
    data=st.data(),
)
def test_round_trip_of_any_names(tmp_path_factory, videos, classes, data):
    path = tmp_path_factory.mktemp("p") / "p.parquet"
    labels = [
        tuple(data.draw(st.lists(st.sampled_from(classes), max_size=2, unique=True)))
        for _ in videos
    ]
    scores = np.random.default_rng(0).normal(size=(len(videos), len(classes))).astype(np.float32)
    write_predictions(path, videos, labels, scores, classes)
    read = read_predictions(path)
    assert (list(read.videos), list(read.labels), list(read.classes)) == (videos, labels, classes)
    assert read.scores.dtype == np.float32
    np.testing.assert_array_equal(read.scores, scores)


def test_equal_predictions_give_equal_bytes_and_the_right_hash(tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    digest = write(first)
    assert digest == write(second, scores=np.asfortranarray(SCORES.astype(np.float64)))
    assert first.read_bytes() == second.read_bytes()
    assert digest == hashlib.sha256(first.read_bytes()).hexdigest()
    assert digest != write(second, videos=["x#1", "z"])


def test_the_file_is_plain_parquet_with_prefixed_float32_columns(tmp_path):
    write(tmp_path / "p.parquet")
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column_names == ["video", "labels", "score: video", "score: a.b", "score: c"]
    assert str(table.schema.field("score: c").type) == "float"
    assert table.schema.metadata is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"videos": ["x", "x"]}, "scored twice.*'x'"),
        ({"videos": ["x"]}, "differ in number"),
        ({"labels": [("c",)]}, "differ in number"),
        ({"labels": ["c", "c"]}, "list of names"),
        ({"classes": ["a", "b"]}, "3 columns of scores, 2 classes"),
        ({"classes": ["a", "b", "a"]}, "repeated.*'a'"),
        ({"scores": np.array([[0.1, np.nan, 0], [0, 0, 0]])}, "not finite.*1 of 2 videos"),
        ({"scores": np.full((2, 3), 1e300)}, "not finite"),
        ({"scores": np.zeros(2)}, "wrong shape"),
        ({"scores": np.zeros((0, 3)), "videos": [], "labels": []}, "no scored videos"),
        ({"videos": ["x", "\udcff"]}, "not valid text"),
    ],
)
def test_bad_parts_are_refused_and_nothing_is_written(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        write(tmp_path / "out" / "p.parquet", **changes)
    assert not list(tmp_path.glob("out/*"))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "p.parquet"
    with pytest.raises(DataError, match="no such"):
        read_predictions(path)
    write(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        read_predictions(path)
    import pyarrow as pa

    pq.write_table(pa.table({"video": ["x"]}), path)
    with pytest.raises(DataError, match="lacks labels"):
        read_predictions(path)


def test_folders_named_like_partitions_add_no_columns(tmp_path):
    path = tmp_path / "seed=1" / "video=x" / "p#1%20.parquet"
    write(path)
    assert read_predictions(path).videos == ("x#1", "y")
