"""What `predict` and `report` take from stored embeddings, and what they leave there."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vclip_cli.engine.encoding.embedding_files import read_header
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.loading import videos as loading
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.results.record import read_record

PREDICT = ("predict", "a.mp4", "b.mp4", "--backbone", "toy", "--top", 3, "--json")


class Work:
    """How many videos were decoded and how many batches encoded since it was last asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded = self.encoded = 0
        read, encode = loading.decode_listed, ClipAdapter.encode_frames

        def counted_read(*arguments: object, **options: object) -> object:
            self.decoded += 1
            return read(*arguments, **options)

        def counted_encode(*arguments: object) -> object:
            self.encoded += 1
            return encode(*arguments)

        monkeypatch.setattr(loading, "decode_listed", counted_read)
        monkeypatch.setattr(ClipAdapter, "encode_frames", counted_encode)

    def done(self) -> tuple[int, int]:
        counts = self.decoded, self.encoded
        self.decoded = self.encoded = 0
        return counts


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VCLIP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _clips(count: int = 2) -> list[Path]:
    rows = open_dataset("toy").manifest.rows.groupby("class").head(1).head(count)
    prepare_videos("toy", rows["video"].tolist())
    return [toy_folder() / path for path in rows["path"]]


@pytest.fixture
def videos() -> None:
    for path, name in zip(_clips(), ("a.mp4", "b.mp4"), strict=True):
        shutil.copy(path, name)


def _scores(ran: object) -> list[dict[str, float]]:
    found = json.loads(ran.out)["predictions"]  # type: ignore[attr-defined]
    return [{e["label"]: e["probability"] for e in video.get("labels", [])} for video in found]


def test_a_clip_seen_before_is_neither_decoded_nor_encoded(
    vclip: Callable, videos: None, own_cache: Path, work: Work
) -> None:
    first = vclip(*PREDICT, "--labels", "circle,square,star")
    assert first.code == 0, first.err
    assert work.done() == (2, 2)
    other = vclip(*PREDICT, "--labels", "dog,cat,red circle")
    assert other.code == 0 and work.done() == (0, 0)
    again = vclip(*PREDICT, "--labels", "circle,square,star")
    assert again.out == first.out and work.done() == (0, 0)
    for labels, cached in (("circle,square,star", first), ("dog,cat,red circle", other)):
        plain = vclip(*PREDICT, "--labels", labels, "--no-cache")
        assert work.done() == (2, 2)
        for ours, theirs in zip(_scores(cached), _scores(plain), strict=True):
            assert ours.keys() == theirs.keys()
            np.testing.assert_allclose([ours[k] for k in theirs], [*theirs.values()], atol=1e-5)
    assert vclip(*PREDICT, "--labels", "dog,cat", "--frames", 4).code == 0
    assert work.done() == (2, 2)  # another sampling


def test_a_changed_clip_is_looked_at_again(
    vclip: Callable, videos: None, own_cache: Path, work: Work
) -> None:
    labels = ("--labels", "circle,square,star")
    first = _scores(vclip(*PREDICT, *labels))
    os.utime("a.mp4", ns=(1, 1))
    assert _scores(vclip(*PREDICT, *labels)) == first
    assert work.done() == (3, 3)
    shutil.copy(_clips(8)[-1], "b.mp4")
    second = _scores(vclip(*PREDICT, *labels))
    assert second[0] == first[0] and second[1] != first[1]
    assert work.done() == (1, 1)
    Path("b.mp4").write_bytes(b"no video")
    ran = vclip(*PREDICT, *labels)
    assert ran.code == 4 and _scores(ran) == [first[0], {}]
    assert json.loads(ran.out)["predictions"][1]["error"]["where"].endswith("b.mp4")


def test_no_cache_leaves_nothing_behind(vclip: Callable, videos: None, own_cache: Path) -> None:
    assert vclip(*PREDICT, "--labels", "a,b", "--no-cache").code == 0
    assert not (own_cache / "embeddings").exists()


def test_clips_of_a_dataset_and_single_clips_share(
    vclip: Callable, own_cache: Path, work: Work
) -> None:
    for number, path in enumerate(_clips(4)):
        folder = Path("mine") / "ab"[number // 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / f"{number}.mp4")
    paths = sorted(map(str, Path("mine").rglob("*.mp4")))
    labels = ("--backbone", "toy", "--labels", "circle,star")
    assert vclip("predict", paths[3], *labels).code == 0
    assert vclip("data", "add", "mine", "--videos", "mine").code == 0
    work.done()
    assert vclip("embed", "mine", "--backbone", "toy").code == 0
    assert work.done()[0] == 3
    assert vclip("predict", *paths, *labels).code == 0
    assert work.done() == (0, 0)
    shards = [read_header(path).rows for path in (own_cache / "embeddings").rglob("*.safetensors")]
    assert sorted((rows.dataset, len(rows.videos)) for rows in shards) == [("", 1), ("mine", 3)]
    [entry] = json.loads(vclip("cache", "list", "--kind", "embeddings", "--json").out)["entries"]
    assert (entry["datasets"], entry["items"]) == (["mine"], 4)


def test_a_name_that_is_no_text(vclip: Callable, own_cache: Path, work: Work) -> None:
    name = os.fsdecode(b"\xff.mp4")
    try:
        shutil.copy(_clips(1)[0], name)
    except OSError:
        pytest.skip("the file system takes no such name")
    for _ in range(2):
        assert vclip("predict", name, "--backbone", "toy", "--labels", "a,b").code == 0
    assert work.done() == (1, 1)


# report -------------------------------------------------------------------------------------------

EVAL = ("eval", "--dataset", "toy", "--split", "zero-shot", "--limit", 10, "--out", "run")


def _map(path: str = "report.html") -> dict:
    page = Path(path).read_text(encoding="utf-8")
    document = json.loads(re.search(r'id="document">(.*?)</script>', page, re.DOTALL)[1])
    return document["results"][0]["map"]


@pytest.fixture
def fresh(vclip: Callable, own_cache: Path, work: Work) -> Path:
    """A cached evaluation of ten clips, and no report yet."""
    assert vclip(*EVAL).code == 0
    assert work.done()[0] == 10
    return own_cache


def test_a_map_alone_comes_from_the_evaluations_embeddings(
    vclip: Callable, fresh: Path, work: Work
) -> None:
    assert vclip("report", "run", "--no-frames").code == 0
    assert work.done() == (0, 0)
    stored = _map()
    shutil.rmtree(fresh / "report")
    shutil.rmtree(fresh / "embeddings")
    assert vclip("report", "run", "--no-frames").code == 0
    assert work.done()[0] >= 10
    np.testing.assert_allclose(stored["x"], _map()["x"], atol=0.02)
    assert list((fresh / "embeddings").rglob("*.safetensors"))  # and it leaves them there


def test_frames_need_decoding_but_no_encoding(
    vclip: Callable, fresh: Path, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a video was embedded")

    monkeypatch.setattr(Encoder, "embed", refuse)
    assert vclip("report", "run").code == 0
    assert work.done()[0] >= 10
    assert len(_map()["x"]) == 10


def test_what_changed_since_is_looked_at_again(vclip: Callable, fresh: Path, work: Work) -> None:
    clip = next(path for path in sorted(fresh.glob("toy-*/**/*")) if path.is_file())
    os.utime(clip, ns=(1, 1))
    assert vclip("report", "run", "--no-frames").code == 0
    assert 1 <= work.done()[0] <= 2  # for the check of the model, and for the map


def test_the_store_of_the_run_is_found_whatever_its_precision(
    vclip: Callable, own_cache: Path, work: Work
) -> None:
    assert vclip(*EVAL, "--precision", "bf16").code == 0
    work.done()
    assert vclip("report", "run", "--no-frames").code == 0
    assert work.done() == (0, 0)
    [path] = Path("run").rglob("record.json")
    folders = [path.name for path in (own_cache / "embeddings").iterdir()]
    assert folders == [(read_record(path).video.embeddings or "")[:16]]
