from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_datasets import AWKWARD, hmdb_name, write_hmdb, write_ucf

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError
from vclip_cli.data.dataset import Dataset, add_dataset, load_dataset
from vclip_cli.data.imported import import_split
from vclip_cli.data.label_set import load_label_set
from vclip_cli.data.manifest import has_split, official_split
from vclip_cli.data.selection import build_split, select
from vclip_cli.data.split import (
    Rule,
    Split,
    check_overlap,
    marked,
    read_split,
    rows_as_csv,
    write_split,
)
from vclip_cli.data.verify import verify_split

FEW_SHOT = Rule(name="few-shot", split="train-1")
BASE = Rule(
    name="base-to-novel", split="train-1", half="base", halves="training-counts",
    counted_in="train-1",
)  # fmt: skip


@pytest.fixture
def hmdb51() -> Dataset:
    return add_dataset("hmdb51", annotations=write_hmdb(Path("ann")))


def drawn(dataset: Dataset, rule: Rule, shots: int, seed: int) -> Split:
    chosen = select(dataset, rule, shots=shots, seed=seed)
    return build_split(dataset, chosen.rows, rule, "train", shots=shots, seed=seed)


def test_official_splits_and_unions(hmdb51: Dataset):
    train = official_split(hmdb51.manifest, "train-1")
    test = official_split(hmdb51.manifest, "test-1")
    assert len(train) == 51 * 6
    assert set(train["video"]).isdisjoint(test["video"])
    assert len(official_split(hmdb51.manifest, "train-1+test-1")) == 51 * 9
    assert len(official_split(hmdb51.manifest, "full")) == hmdb51.manifest.videos
    assert has_split(hmdb51.manifest, "test-3")
    assert not has_split(hmdb51.manifest, "test-4")
    with pytest.raises(DataError, match="did you mean 'test-"):
        official_split(hmdb51.manifest, "test-4")


def test_a_split_survives_its_file_with_awkward_names(hmdb51: Dataset):
    split = drawn(hmdb51, FEW_SHOT, 4, 0)
    path = Path("out/train.csv")
    write_split(split, path)
    again = read_split(path)
    assert again.rows.values.tolist() == split.rows.values.tolist()
    assert again.provenance == split.provenance
    assert again.provenance.seed == 0
    for mark in AWKWARD:
        assert any(video.startswith(mark) for video in again.rows["video"])
    assert path.read_bytes().startswith(b"video,class\n")


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1).map("v{}".format),
            st.text(st.characters(blacklist_categories=["Cc", "Cs"])),
        ),
        max_size=20,
    )
)
def test_any_rows_survive_the_csv(rows: list[tuple[str, str]]):
    from vclip_cli.data.split import _read_rows

    path = Path("any.csv")
    path.write_bytes(rows_as_csv(pd.DataFrame(rows, columns=["video", "class"], dtype=str)))
    assert [tuple(row) for row in _read_rows(path).values.tolist()] == rows


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: text.replace("video,class", "name,label"), "header differs"),
        (lambda text: text + "a,b,c\n", "wrong number of columns"),
        (lambda text: text.replace("\n", "\nextra,pour\n", 1), "altered"),
    ],
)
def test_broken_and_altered_splits_are_refused(hmdb51: Dataset, change, match: str):
    path = Path("train.csv")
    write_split(drawn(hmdb51, FEW_SHOT, 2, 1), path)
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(DataError, match=match):
        read_split(path)


def test_a_split_without_its_provenance_is_refused(hmdb51: Dataset):
    path = Path("train.csv")
    write_split(drawn(hmdb51, FEW_SHOT, 2, 1), path)
    sidecar = path.with_suffix(".json")
    facts = json.loads(sidecar.read_text(encoding="utf-8"))
    sidecar.write_text(json.dumps({**facts, "sead": 1}), encoding="utf-8")
    with pytest.raises(DataError, match="sead"):
        read_split(path)
    sidecar.unlink()
    with pytest.raises(DataError, match="provenance is missing"):
        read_split(path)


@pytest.mark.parametrize("rule", [FEW_SHOT, BASE, FEW_SHOT.model_copy(update={"nested": True})])
def test_verify_finds_a_match_and_says_what_differs(hmdb51: Dataset, rule: Rule):
    path = Path("train.csv")
    write_split(drawn(hmdb51, rule, 3, 2), path)
    assert verify_split(read_split(path), hmdb51).matches
    text = path.read_text(encoding="utf-8")
    first, second = text.splitlines()[1:3]
    unchosen = next(
        video
        for video in official_split(hmdb51.manifest, "train-1")["video"]
        if f"{video}," not in text
    )
    path.write_text(text.replace(first, f"{unchosen},wave"), encoding="utf-8")
    result = verify_split(read_split(path, altered=True), hmdb51)
    assert not result.matches
    assert "altered" in result.differences[0]
    assert any(unchosen in line and "not chosen by the rule" in line for line in result.differences)
    path.write_text(text.replace(f"{first}\n{second}", f"{second}\n{first}"), encoding="utf-8")
    result = verify_split(read_split(path, altered=True), hmdb51)
    assert "another order" in result.differences[-1]


def test_verify_notes_other_parents_and_fails_when_the_draw_is_gone(hmdb51: Dataset):
    split = drawn(hmdb51, FEW_SHOT, 6, 1)
    write_hmdb(Path("ann"), training=6, testing=4)
    assert "lists have changed" in verify_split(split, load_dataset("hmdb51")).remarks[0]
    write_hmdb(Path("ann"), training=5, testing=1)
    result = verify_split(split, load_dataset("hmdb51"))
    assert "cannot be made again" in result.differences[0]


def test_base_to_novel_takes_base_classes_in_base_order(hmdb51: Dataset):
    chosen = select(hmdb51, BASE, shots=2, seed=1)
    base = load_label_set("hmdb51").subset("base")
    assert list(chosen.classes) == base
    assert chosen.rows["class"].tolist() == [name for name in base for _ in range(2)]
    assert chosen.remarks == ()


def test_halves_that_differ_from_the_published_ones_are_remarked():
    names = load_label_set("ucf101").names
    dataset = add_dataset("ucf101", annotations=write_ucf(Path("ann"), dict.fromkeys(names, 3)))
    chosen = select(dataset, BASE, shots=2, seed=1)
    assert "differ from the label set's published ones" in chosen.remarks[0]


def test_a_draw_needs_k_and_names_small_classes(hmdb51: Dataset):
    with pytest.raises(DataError, match=r"51 of 51 classes have fewer than 7.*at most --shots 6"):
        select(hmdb51, FEW_SHOT, shots=7, seed=1)
    with pytest.raises(UsageError, match="--shots and --seed"):
        select(hmdb51, FEW_SHOT, shots=None, seed=1)


def write_list(videos: list[str], form: str = "{video}.avi {label}") -> Path:
    path = Path("list.txt")
    lines = [form.format(video=video, label=0) for video in videos]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "form",
    ["{video}.avi {label}", "pour/{video}.avi,{label}", "pour/{video} 300 {label}", "{video}.mp4"],
)
def test_lists_are_imported_by_file_name_in_any_form(hmdb51: Dataset, form: str):
    videos = [hmdb_name("pour", number) for number in (3, 0, 1)]
    split = import_split(hmdb51, write_list(videos, form))
    assert split.rows.values.tolist() == [[video, "pour"] for video in videos]
    assert split.provenance.imported is not None
    assert split.provenance.imported.file == "list.txt"
    assert split.provenance.remarks == []


def test_imported_lists_verify_against_their_file(hmdb51: Dataset):
    videos = [hmdb_name("pour", number) for number in range(3)]
    path = write_list(videos)
    split = import_split(hmdb51, path)
    assert verify_split(split, hmdb51, list_file=path).matches
    assert "not compared" in verify_split(split, hmdb51).remarks[0]
    write_list(videos[:2])
    differences = verify_split(split, hmdb51, list_file=path).differences
    assert "not the list that was imported" in differences[0]
    assert "not chosen by the rule" in differences[1]


def test_labels_of_an_imported_list_never_overrule_the_dataset(hmdb51: Dataset):
    path = write_list([hmdb_name("kick", 0), hmdb_name("kick", 1)])
    Path("names.csv").write_text("id,name\n0,kick ball\n", encoding="utf-8")
    split = import_split(hmdb51, path, labels_file=Path("names.csv"))
    assert split.rows["class"].unique().tolist() == ["kick"]
    assert "2 videos have another class in the list" in split.provenance.remarks[0]
    mixed = import_split(hmdb51, write_list([hmdb_name("kick", 0), hmdb_name("pour", 0)]))
    assert "stand for several classes" in mixed.provenance.remarks[0]


def test_an_imported_list_with_strangers_or_doubles_is_refused(hmdb51: Dataset):
    known = hmdb_name("pour", 0)
    with pytest.raises(
        DataError, match="1 of 2 videos of the list are not in the dataset"
    ) as caught:
        import_split(hmdb51, write_list([known, "stranger"]))
    assert caught.value.where == "list.txt:2"
    with pytest.raises(DataError, match=r"stands twice.*line 1") as caught:
        import_split(hmdb51, write_list([known, known]))
    assert caught.value.where == "list.txt:2"


def test_overlaps_are_refused_with_counts_or_marked(hmdb51: Dataset):
    training = drawn(hmdb51, FEW_SHOT, 6, 1)
    tests = {
        name: official_split(hmdb51.manifest, name)["video"].tolist()
        for name in ("test-1", "test-2")
    }
    videos = training.rows["video"].tolist()
    assert check_overlap(videos, {"test-1": tests["test-1"]}) == []
    with pytest.raises(ComparisonRefused, match="153 of 306 training videos") as caught:
        check_overlap(videos, tests)
    assert caught.value.exit_code == 6
    overlaps = check_overlap(videos, tests, allowed=True)
    assert [(found.test, found.shared, found.of) for found in overlaps] == [("test-2", 153, 153)]
    assert marked(training, overlaps).provenance.overlaps_allowed == overlaps
