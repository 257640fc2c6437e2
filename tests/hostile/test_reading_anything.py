"""Every reader of artefacts and lists: damaged files, and any bytes at all, give errors of ours."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile_files import toy_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_datasets import write_hmdb, write_kinetics, write_ucf, write_videos
from make_records import make_record

from vclip_cli.cli.config_file import read_config
from vclip_cli.common.errors import VclipError
from vclip_cli.common.files import sha256_bytes
from vclip_cli.common.resources import find_yaml
from vclip_cli.data.annotation_files import read_class_names
from vclip_cli.data.dataset import add_dataset, load_dataset
from vclip_cli.data.draws import select
from vclip_cli.data.label_set import LabelSet, label_set_from_names, load_label_set, write_label_set
from vclip_cli.data.manifest import read_manifest, write_manifest
from vclip_cli.data.protocol import load_protocol
from vclip_cli.data.readers import load_reader
from vclip_cli.data.split import Rule, build_split, read_split
from vclip_cli.data.video_list import read_video_list
from vclip_cli.engine.encoding.embedding_files import (
    ShardRows,
    check_values,
    read_header,
    write_shard,
)
from vclip_cli.engine.runs.parts import FailedVideo, Scores, read_part, write_part
from vclip_cli.engine.training.outcome import STATE_FILE, ResumeState, read_state, write_state
from vclip_cli.models.checkpoint import read_checkpoint
from vclip_cli.models.tensors import read_tensor_file, state_dict_of
from vclip_cli.results.predictions import read_predictions, write_predictions
from vclip_cli.results.record import read_record, write_record

EXAMPLES = int(os.environ.get("EXAMPLES", "12"))
"""Set it higher to look for more."""
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SHA256 = "0" * 64
WORDS = (
    *(b"null", b"-1", b"1e999", b"NaN", b"[]", b"{}", b'""', b"[[[[", b"}}", b"\0", b"\xff", b"\r"),
    *(b"..", b"/", b"\\", b'"', b",", b"\n", b":", b"- ", b"&a", b"*a", b"!!x ", b"? ", b"9" * 400),
)
"""What text formats trip over."""


@dataclass(frozen=True)
class Artefact:
    """make: writes sound files into a folder, the one to damage first; read: reads it."""

    make: Callable[[Path], Path]
    read: Callable[[Path], Any]


def _split(folder: Path) -> Path:
    dataset = _registered(folder)
    rule = Rule(name="official", split="all")
    path = folder / "list.csv"
    build_split(dataset, select(dataset, rule).rows, rule, "test").save(path)
    return path


def _registered(folder: Path) -> Any:
    videos = write_videos(folder / "videos", ["a/one.mp4", "a/two.mp4", "b/#three.mp4"])
    return add_dataset("mine", videos=videos)


def _manifest(folder: Path) -> Path:
    path = folder / "m.parquet"
    write_manifest(_registered(folder).manifest, path)
    return path


def _rehashed(path: Path) -> Any:
    """As if whoever damaged the rows had put the right hash beside them."""
    sidecar = path.with_suffix(".json")
    facts = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps({**facts, "rows_sha256": sha256_bytes(path.read_bytes())}))
    return read_manifest(path)


def _label_set(folder: Path) -> Path:
    path = folder / "mine.yaml"
    write_label_set(label_set_from_names("mine", "Mine", ["a b", "c", "é"]), path)
    return path


def _shipped(kind: str, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / f"{name}.yaml"
        path.write_bytes(find_yaml(kind, name).read_bytes())
        return path

    return make


def _config(folder: Path) -> Path:
    path = Path(".vclip/config.yaml")
    path.parent.mkdir(exist_ok=True)
    path.write_text("frames: 8\nmethod: clip\nresume: true\ndevice: cpu\n")
    return path


def _dataset(folder: Path) -> Path:
    _registered(folder)
    return Path(".vclip/datasets/mine.yaml")


def _text(name: str, text: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text, encoding="utf-8")
        return folder / name

    return make


def _hmdb(folder: Path) -> Path:
    return sorted(write_hmdb(folder / "lists").iterdir())[0]


def _ucf(folder: Path) -> Path:
    counts = {"Archery": 2, "Biking": 2}
    return write_ucf(folder / "lists", counts) / "trainlist01.txt"


def _kinetics(folder: Path) -> Path:
    rows = {"train": [("archery", "abcdefghijk"), ("zumba", "-bcdefghij_")]}
    return write_kinetics(folder / "lists", rows) / "train.csv"


def _ssv2(folder: Path) -> Path:
    record = {"id": "7", "label": "moving cup up", "template": "Moving [something] up"}
    path = folder / "lists/something-something-v2-train.json"
    path.parent.mkdir()
    path.write_text(json.dumps([{**record, "placeholders": ["cup"]}], indent=1))
    return path


def _charades(folder: Path) -> Path:
    path = folder / "lists/Charades_v1_train.csv"
    path.parent.mkdir()
    columns = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions"
    row = 'YSKX3,A,Kitchen,6,7,Yes,"A, b",c,"d ""e""",c092 11.90 21.20;c147 0.00 12.60,24.83'
    path.write_text(f"{columns},length\n{row}\n")
    return path


def _predictions(folder: Path) -> Path:
    path = folder / "p.parquet"
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_predictions(path, ["a", "#b"], [["x"], ["y", "z"]], scores, ["x", "y", "z"])
    return path


def _record(folder: Path) -> Path:
    write_record(make_record(failed=1), folder / "record.json")
    return folder / "record.json"


_BACKBONE: list[Any] = []


def _checkpoint(folder: Path) -> Path:
    from vclip_cli.models.backbone import load_backbone

    if not _BACKBONE:
        _BACKBONE.append(load_backbone("toy"))
    return toy_checkpoint(folder / "c.safetensors", "vl-prompt")


def _weights(folder: Path) -> Path:
    path = folder / "w.pt"
    torch.save({"state_dict": {"a": torch.zeros(3), "b.c": torch.ones(2, 2)}, "epoch": 3}, path)
    return path


def _legacy(folder: Path) -> Path:
    path = folder / "w.pth"
    torch.save({"a": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)
    return path


def _part(folder: Path) -> Path:
    scores = np.ones((2, 3), np.float32)
    part = Scores(["a", "b"], scores, [FailedVideo("c", "c.mp4", "no")])
    write_part(folder, 0, part)
    return folder / "00000000.safetensors"


def _state(folder: Path) -> Path:
    write_state(folder, ResumeState(SHA256, 3, {"a": torch.ones(2)}, {"state": {}}))
    return folder / STATE_FILE


def _shard(folder: Path) -> Path:
    rows = ShardRows("mine", "/videos", ["a", "b"], ["a.mp4", "b.mp4"], [1, 2], [3, 4], [{}, {}])
    return write_shard(folder, rows, np.ones((2, 3), np.float32))


def _read_shard(path: Path) -> None:
    check_values(read_header(path))


def _official(name: str) -> Callable[[Path], Any]:
    return lambda path: load_reader(name).read(path.parent)


ARTEFACTS = {
    "split": Artefact(_split, read_split),
    "split's provenance": Artefact(
        lambda folder: _split(folder).with_suffix(".json"),
        lambda path: read_split(path.with_suffix(".csv"), altered=True),
    ),
    "manifest": Artefact(_manifest, _rehashed),
    "manifest's facts": Artefact(
        lambda folder: _manifest(folder).with_suffix(".json"),
        lambda path: read_manifest(path.with_suffix(".parquet")),
    ),
    "label set": Artefact(_label_set, load_label_set),
    "protocol": Artefact(_shipped("protocols", "few-shot"), load_protocol),
    "config": Artefact(_config, lambda path: read_config()),
    "dataset": Artefact(_dataset, lambda path: load_dataset("mine")),
    "list": Artefact(_text("l.txt", "a/one.mp4 0\nb/#two.avi 1\n"), read_video_list),
    "list of several": Artefact(_text("l.txt", "a.mp4 0 3\nb.mp4 1\n"), read_video_list),
    "table": Artefact(_text("l.csv", 'path,class,split\n"a,b.mp4",x,train\n'), read_video_list),
    "class names": Artefact(_text("n.csv", "id,name\n0,a b\n1,c\n"), read_class_names),
    "hmdb51": Artefact(_hmdb, _official("hmdb51")),
    "ucf101": Artefact(_ucf, _official("ucf101")),
    "kinetics": Artefact(_kinetics, _official("kinetics")),
    "ssv2": Artefact(_ssv2, _official("ssv2")),
    "charades": Artefact(_charades, _official("charades")),
    "predictions": Artefact(_predictions, read_predictions),
    "record": Artefact(_record, read_record),
    "checkpoint": Artefact(_checkpoint, lambda path: read_checkpoint(path, _BACKBONE[0])),
    "weights": Artefact(_weights, lambda path: state_dict_of(read_tensor_file(path), "w")),
    "old weights": Artefact(_legacy, lambda path: state_dict_of(read_tensor_file(path), "w")),
    "part": Artefact(_part, lambda path: read_part(path.parent, 0)),
    "resume state": Artefact(_state, lambda path: read_state(path.parent, SHA256)),
    "stored embeddings": Artefact(_shard, _read_shard),
}
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "word", "drop", "double"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def _damaged(good: bytes, edits: list[tuple[str, float, int]]) -> bytes:
    data = bytearray(good)
    for kind, share, number in edits:
        place = int(share * len(data))
        if kind == "flip" and data:
            data[place] ^= number or 1
        elif kind == "cut":
            del data[place:]
        elif kind == "word":
            data[place:place] = WORDS[number % len(WORDS)]
        elif kind == "drop":
            del data[place : place + 1 + number // 8]
        else:
            data[place:place] = data[place : place + number]
    return bytes(data)


@pytest.mark.parametrize("name", ARTEFACTS)
def test_damaged_files_and_any_bytes_give_errors_of_ours(tmp_path: Path, name: str) -> None:
    artefact = ARTEFACTS[name]
    folder = tmp_path / "work"
    path = artefact.make(folder)
    artefact.read(path)
    good = path.read_bytes()

    def read(data: bytes) -> None:
        path.write_bytes(data)
        try:
            artefact.read(path)
        except VclipError as error:
            assert error.exit_code in (2, 3, 4, 5)
            assert len(str(error)) < 5000

    @FEW
    @given(EDITS)
    def damaged(edits: list[tuple[str, float, int]]) -> None:
        read(_damaged(good, edits))

    @FEW
    @given(st.binary(max_size=200))
    def anything(data: bytes) -> None:
        read(data)

    damaged()
    anything()


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Zs"]), min_size=1)
FLOATS = st.floats(-(2.0**99), 2.0**99, width=32)


@FEW
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True), st.data())
def test_parts_read_back_equal(videos: list[str], data: st.DataObject) -> None:
    values = data.draw(st.lists(FLOATS, min_size=len(videos), max_size=len(videos)))
    failures = [FailedVideo(name, f"{name}.mp4", name[::-1]) for name in videos]
    write_part(Path(), 64, Scores(videos, np.array(values, np.float32)[:, None], failures))
    again = read_part(Path(), 64)
    assert again is not None and (again.videos, again.failures) == (videos, failures)
    assert again.scores.ravel().tolist() == np.array(values, np.float32).tolist()


@FEW
@given(st.dictionaries(NAMES, st.lists(FLOATS, min_size=1, max_size=4), max_size=4), st.integers(0))
def test_resume_states_read_back_equal(values: dict[str, list[float]], step: int) -> None:
    tensors = {name: torch.tensor(numbers) for name, numbers in values.items()}
    write_state(Path(), ResumeState(SHA256, step, tensors, {}, losses=[[1.0, 2.0, 3.0]]))
    again = read_state(Path(), SHA256)
    assert again is not None and again.step == step and again.losses == [[1.0, 2.0, 3.0]]
    assert {name: value.tolist() for name, value in again.tensors.items()} == {
        name: value.tolist() for name, value in tensors.items()
    }


@FEW
@given(st.lists(NAMES, min_size=1, max_size=6, unique=True), NAMES)
def test_label_sets_read_back_equal(names: list[str], title: str) -> None:
    entries = [{"name": name, "texts": {"t": f"{name}: {title}"}} for name in names]
    content = {"name": "mine", "title": title, "version": 1, "classes": entries}
    label_set = LabelSet.model_validate({**content, "subsets": {"all": names}})
    write_label_set(label_set, Path("mine.yaml"))
    assert load_label_set("mine.yaml") == label_set
