"""Stored embeddings: reused exactly where they may be, never where they may not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_clip import tiny_backbone

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.encoding import embedding_store as embeddings
from vclip_cli.engine.encoding.embedding_store import (
    EmbeddingStore,
    StoredEmbeddings,
    embedding_store,
)
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.loading import videos
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, VideoSet
from vclip_cli.engine.specs import ComputeSpec, InputSpec
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.results.predictions import read_predictions
from vclip_cli.results.record import read_record, record_fingerprint

EVAL = ("eval", "-p", "zero-shot", "-d", "toy", "--split", "zero-shot", "--limit", 20)
INPUT = InputSpec(frames=4, preprocessing=Preprocessing(size=32))
READING = VideoReading(INPUT)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without embeddings, in which the rendered clips of the session can be seen."""
    prepare_videos("toy", [])
    cache, rendered = tmp_path / "cache", toy_folder()
    rendered.mkdir(parents=True, exist_ok=True)
    cache.mkdir()
    (cache / rendered.name).symlink_to(rendered, target_is_directory=True)
    monkeypatch.setenv("VCLIP_CACHE", str(cache))
    return cache


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, decoding a video is an error that nothing catches."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a video was decoded")

    return lambda: monkeypatch.setattr(videos, "decode_listed", refuse)


def files(folder: Path, count: int = 6) -> list[ListedVideo]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.mp4").write_bytes(bytes([number]) * 10)
    return [ListedVideo(f"video {number}", f"{number}.mp4") for number in range(count)]


def an_encoder(seed: int = 0, **compute: str) -> Encoder:
    spec = ComputeSpec(**{"device": "cpu", **compute})
    return Encoder(ClipAdapter(tiny_backbone(seed=seed)), spec)


def a_store(**changes: object) -> EmbeddingStore:
    store = embedding_store(an_encoder(), READING)
    assert store is not None
    return replace(store, **changes) if changes else store


def opened(
    store: EmbeddingStore, dataset: str, root: Path, items: list[ListedVideo]
) -> StoredEmbeddings:
    return store.open(VideoSet(root, items, READING, dataset))


def values(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 1, 4, 64)).astype(np.float32)


def fill(folder: Path, items: list[ListedVideo]) -> np.ndarray:
    stored = opened(a_store(), "some", folder, items)
    kept = values(len(items))
    stored.add(range(len(items)), kept, {items[2].video: {"corrupt_frames": 3}})
    stored.flush()
    return kept


# The store ----------------------------------------------------------------------------------------


def test_what_goes_in_comes_out(own_cache: Path, tmp_path: Path):
    items = files(tmp_path / "videos")
    kept = fill(tmp_path / "videos", items)
    stored = opened(a_store(), "another name", tmp_path / "videos", items[::-1])
    assert all(position in stored for position in range(6))
    assert stored.read([0, 4]).tobytes() == kept[[5, 1]].tobytes()
    assert stored.damage(range(6)) == {items[2].video: {"corrupt_frames": 3}}
    assert stored.reused == 2
    description = json.loads((a_store().folder / "description.json").read_text())
    assert description == a_store().description


def test_a_changed_file_or_another_folder_is_not_taken_for_the_same(
    own_cache: Path, tmp_path: Path
):
    folder = tmp_path / "videos"
    items = files(folder)
    fill(folder, items)
    (folder / "1.mp4").write_bytes(b"longer than before")
    os.utime(folder / "2.mp4", ns=(1, 1))
    (folder / "3.mp4").unlink()
    stored = opened(a_store(), "some", folder, items)
    assert [position in stored for position in range(6)] == [True, False, False, False, True, True]
    shutil.copytree(folder, tmp_path / "copy")
    assert len(opened(a_store(), "some", tmp_path / "copy", items)) == 0


@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "header", "text"])
def test_a_damaged_shard_is_seen_and_never_used(
    own_cache: Path, tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture
):
    items = files(tmp_path / "videos")
    kept = fill(tmp_path / "videos", items)
    [path] = a_store().folder.glob("*.safetensors")
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-5] ^= 1
    elif harm == "header":
        data = data.replace(b"video 4", b"video 9")
    path.write_bytes({"cut": data[:-40], "empty": b"", "text": b"no shard"}.get(harm, data))
    with _warnings(caplog):
        stored = opened(a_store(), "some", tmp_path / "videos", items)
        assert not any(position in stored for position in range(6))
    assert "damaged" in caplog.text and "computed again" in caplog.text
    assert not path.exists()
    assert fill(tmp_path / "videos", items).tobytes() == kept.tobytes()
    assert 0 in opened(a_store(), "some", tmp_path / "videos", items)


def _warnings(caplog: pytest.LogCaptureFixture):
    """The command line takes the log for itself; give it back to pytest."""
    embeddings.log.propagate = True
    return caplog.at_level("WARNING", logger="vclip")


def test_two_at_once_add_to_one_store(own_cache: Path, tmp_path: Path):
    items = files(tmp_path / "videos")
    one, two = (opened(a_store(), "some", tmp_path / "videos", items) for _ in range(2))
    one.add([0, 1, 2], values(3), {})
    two.add([2, 3, 4], values(3, seed=1), {})
    one.flush()
    two.flush()
    (a_store().folder / ".half.safetensors.1.part").write_bytes(b"killed while writing")
    stored = opened(a_store(), "some", tmp_path / "videos", items)
    assert [position in stored for position in range(6)] == [True] * 5 + [False]


def test_everything_that_changes_embeddings_changes_the_key():
    resized = replace(READING.preprocessing, interpolation="cv2-bilinear")
    other_mean = replace(READING.preprocessing, mean=(0, 0, 0))
    changes = [
        {},
        {"frames": 8},
        {"clips": 2},
        {"sampling": "dense"},
        {"sampling": "dense", "stride": 2},
        {"preprocessing": resized},
        {"preprocessing": other_mean},
        {"crops": 3},
        {"decoder": "decord"},
    ]
    readings = [VideoReading(replace(INPUT, **change)) for change in changes]
    readings += [VideoReading(replace(INPUT, allow_single_frame=True))]
    stores = [embedding_store(an_encoder(), reading) for reading in readings]
    stores += [embedding_store(an_encoder(precision="bf16"), READING)]
    stores += [embedding_store(an_encoder(device="cuda"), READING)]
    stores += [embedding_store(an_encoder(seed=4), READING)]
    keys = [store.key for store in stores if store is not None]
    assert len(set(keys)) == len(stores) == 13
    again = embedding_store(an_encoder(), READING)
    assert again is not None and again.key == keys[0]


def test_a_cache_that_cannot_be_written_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("VCLIP_CACHE", str(tmp_path / "file"))
    items = files(tmp_path / "videos")
    stored = opened(a_store(), "some", tmp_path / "videos", items)
    with _warnings(caplog):
        for _ in range(2):
            stored.add(range(6), values(6), {})
            stored.flush()
    assert caplog.text.count("not stored") == 1


def test_what_would_fill_a_disk_is_stored_only_when_asked_for(
    own_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(embeddings, "LARGEST_VIEW", 1000)
    items = files(tmp_path / "videos")
    for stores_all in (False, True):
        stored = opened(a_store(stores_all=stores_all), "some", tmp_path / "videos", items)
        stored.add(range(6), values(6), {})
        stored.flush()
        assert (0 in opened(a_store(), "some", tmp_path / "videos", items)) == stores_all


# In evaluation ------------------------------------------------------------------------------------


def test_the_second_evaluation_decodes_nothing_and_gives_the_same_bytes(
    vclip: Callable, own_cache: Path, no_decoding: Callable
) -> None:
    assert vclip(*EVAL, "--no-cache", "--out", "plain").code == 0
    assert not (own_cache / "embeddings").exists()
    assert vclip(*EVAL, "--out", "a").code == 0
    Path("a").rename("cold")
    no_decoding()
    assert vclip(*EVAL, "--out", "a").code == 0
    name = "toy_zero-shot"
    cold, warm, plain = (Path(run) / name / "predictions.parquet" for run in ("cold", "a", "plain"))
    assert cold.read_bytes() == warm.read_bytes()
    scores = [read_predictions(path).scores for path in (warm, plain)]
    assert (scores[0].argmax(1) == scores[1].argmax(1)).all()
    np.testing.assert_allclose(*scores, atol=1e-5, rtol=0)
    records = [read_record(path.with_name("record.json")) for path in (cold, warm, plain)]
    assert record_fingerprint(records[0]) == record_fingerprint(records[1])
    assert [record.timing.embeddings_reused for record in records] == [0, 20, 0]
    assert records[0].video.embeddings and records[2].video.embeddings is None


def test_another_label_set_and_other_methods_need_no_decoding(
    vclip: Callable, own_cache: Path, no_decoding: Callable
) -> None:
    embedded = vclip("embed", "toy", "--limit", 8, "--json")
    assert embedded.code == 0, embedded.err
    document = json.loads(embedded.out)
    assert (document["videos"], document["encoded"], document["reused"]) == (8, 8, 0)
    few = ("train", "-p", "few-shot", "-d", "toy", "--shots", 1, "--seed", 1, "--limit", 4)
    assert vclip(*few, "-m", "linear-probe", "--out", "probe").code == 0
    no_decoding()
    shapes = ("eval", "-d", "toy-shapes", "--split", "train", "-p", _train_protocol())
    ran = vclip(*shapes, "--limit", 8, "--out", "shapes")
    assert ran.code == 0, ran.err
    [path] = Path("shapes").rglob("record.json")
    assert read_record(path).timing.embeddings_reused == 8
    assert vclip(*few, "-m", "tip-adapter", "--out", "tip").code == 0
    assert vclip(*few, "-m", "coop", "--set", "epochs=2", "--out", "coop").code == 0


def _train_protocol() -> str:
    Path("trained.yaml").write_text(
        "name: trained\nversion: 1\ntitle: t\nsource: s\nframes: 8\nmetrics: [top1]\n"
        "test:\n  - {dataset: toy-shapes, split: train}\n"
    )
    return "trained.yaml"


def test_a_tuned_image_side_does_not_share(vclip: Callable, own_cache: Path) -> None:
    small = ("-p", "few-shot", "-d", "toy", "--shots", 1, "--limit", 4)
    tuned = vclip("train", *small, "-m", "vifi-clip", "--set", "epochs=1", "--out", "tuned")
    assert tuned.code == 0, tuned.err
    runs = {"plain": (), "tuned": ("--checkpoint", "tuned/checkpoint.safetensors")}
    keys = []
    for out, more in runs.items():
        ran = vclip("eval", "-p", "few-shot", "-d", "toy", "--limit", 4, *more, "--out", f"e{out}")
        assert ran.code == 0, ran.err
        [path] = Path(f"e{out}").rglob("record.json")
        record = read_record(path)
        assert record.timing.embeddings_reused == 0
        keys.append(record.video.embeddings)
    assert keys[0] != keys[1]


def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(
    vclip: Callable, own_cache: Path
) -> None:
    run = ("eval", "-d", "toy", "--split", "test", "--frames", "3", "--limit", "160")
    whole = vclip(*run, "--out", "whole", "--no-cache")  # also renders the clips
    assert whole.code == 0, whole.err
    command = [sys.executable, "-m", "vclip_cli", *run, "--out", "killed"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while process.poll() is None and not list(Path("killed").rglob("*.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list(Path("killed").rglob("record.json")), "it had ended before it could be killed"
    assert list((own_cache / "embeddings").rglob("*.safetensors"))
    shutil.rmtree("killed/parts")  # the embeddings alone
    resumed = vclip(*run, "--out", "killed")
    assert resumed.code == 0, resumed.err
    record = read_record(Path("killed/toy_test/record.json"))
    assert 64 <= record.timing.embeddings_reused < 160
    name = "toy_test/predictions.parquet"
    assert Path("whole", name).read_bytes() == Path("killed", name).read_bytes()


def test_damaged_shards_and_videos_in_an_evaluation(
    vclip: Callable, own_cache: Path, tmp_path: Path
) -> None:
    root = tmp_path / "mine"
    rows = open_dataset("toy").manifest.rows.groupby("class").head(1).head(4)
    prepare_videos("toy", rows["video"].tolist())
    for path, name in zip(rows["path"], rows["class"], strict=True):
        (root / name).mkdir(parents=True)
        shutil.copy(toy_folder() / path, root / name / Path(path).name)
    broken = sorted(path for path in root.rglob("*") if path.is_file())[1]
    broken.write_bytes(b"no video")
    assert vclip("data", "add", "mine", "--videos", root).code == 0
    run = ("eval", "-d", "mine", "--backbone", "toy", "--no-resume", "--out", "run")
    outcomes = []
    for number in range(3):
        if number == 2:
            [shard] = (own_cache / "embeddings").rglob("*.safetensors")
            shard.write_bytes(shard.read_bytes()[:-1] + b"?")
        ran = vclip(*run)
        assert ran.code == 0, ran.err
        assert ("damaged" in ran.err) == (number == 2)
        [path] = Path("run").rglob("record.json")
        record = read_record(path)
        assert (record.counts.scored, record.counts.failed) == (3, 1)
        outcomes.append((record_fingerprint(record), record.timing.embeddings_reused))
    assert len({fingerprint for fingerprint, _ in outcomes}) == 1
    assert [reused for _, reused in outcomes] == [0, 3, 0]


# vclip embed --------------------------------------------------------------------------------------


def test_embed_says_what_it_would_do_and_goes_on(vclip: Callable, own_cache: Path) -> None:
    run = ("embed", "toy", "--split", "zero-shot", "--limit", 10, "--protocol", "few-shot")
    planned = json.loads(vclip(*run, "--dry-run").out)
    assert (planned["videos"], planned["stored"]) == (10, 0)
    assert planned["bytes_to_add"] == 10 * planned["bytes_a_video"] > 0
    assert not (own_cache / "embeddings").exists()
    assert vclip(*run[:-4], "--limit", 4, *run[-2:]).code == 0
    done = json.loads(vclip(*run, "--json").out)
    assert (done["reused"], done["encoded"], done["key"]) == (4, 6, planned["key"])
    size = sum(path.stat().st_size for path in Path(done["folder"]).glob("*.safetensors"))
    assert planned["bytes_to_add"] < size < 2 * planned["bytes_to_add"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nothing",), 2, "unknown dataset"),
        (("toy", "--split", "tset"), 2, "no split 'tset'"),
        (("toy", "--frames", "0"), 2, "frames"),
        (("toy", "-p", "few-shots"), 2, "few-shot"),
        (("toy", "-m", "coops"), 2, "did you mean 'coop'"),
        (("toy", "--frames-from", "nowhere"), 2, "no frame store"),
    ],
)
def test_embed_of_what_makes_no_sense(
    vclip: Callable, arguments: tuple, code: int, words: str
) -> None:
    ran = vclip("embed", *arguments)
    assert ran.code == code, ran.err
    assert words in ran.err


# vclip cache --------------------------------------------------------------------------------------


def _filled(vclip: Callable) -> None:
    for arguments in (("--frames", 2), ("--frames", 3)):
        assert vclip("embed", "toy", "--limit", 2, *arguments).code == 0


def test_the_cache_is_listed_and_cleared_by_name(vclip: Callable, own_cache: Path) -> None:
    _filled(vclip)
    entries = json.loads(vclip("cache", "list", "--json").out)["entries"]
    assert [(entry["kind"], entry["items"]) for entry in entries] == [("embeddings", 2)] * 2
    assert all("frozen CLIP on toy" in entry["made_by"] for entry in entries)
    key = entries[0]["key"]
    looked = json.loads(vclip("cache", "clear", "--key", key[:8], "--dry-run", "--json").out)
    assert looked["freed"] == entries[0]["size"]
    unsaid = vclip("cache", "clear", "--key", key[:8])
    assert unsaid.code == 2 and "--yes" in unsaid.err
    assert (own_cache / "embeddings" / key).is_dir()
    assert vclip("cache", "clear", "--key", key[:8], "--yes").code == 0
    left = [entry["key"] for entry in json.loads(vclip("cache", "list", "--json").out)["entries"]]
    assert left == [entries[1]["key"]]
    assert not (own_cache / "embeddings" / key).exists()


def test_clearing_touches_only_what_is_the_caches_own(
    vclip: Callable, own_cache: Path, tmp_path: Path
) -> None:
    _filled(vclip)
    stores = sorted((own_cache / "embeddings").iterdir())
    (stores[0] / "thesis.txt").write_text("years of work")
    (own_cache / "letters").mkdir()
    (own_cache / "letters" / "one.txt").write_text("dear")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "description.json").write_text("{}")
    (own_cache / "embeddings" / "linked").symlink_to(outside, target_is_directory=True)
    rendered = toy_folder().resolve()
    clips_before = sorted(rendered.rglob("*.mp4"))
    assert vclip("cache", "clear", "--all", "--yes").code == 0
    assert (stores[0] / "thesis.txt").exists() and not stores[1].exists()
    assert [path.name for path in stores[0].iterdir()] == ["thesis.txt"]
    assert (own_cache / "letters" / "one.txt").exists()
    assert (outside / "description.json").exists()
    assert sorted(rendered.rglob("*.mp4")) == clips_before != []


def test_one_datasets_shards_are_cleared_alone(
    vclip: Callable, own_cache: Path, tmp_path: Path
) -> None:
    items = files(tmp_path / "videos")
    fill(tmp_path / "videos", items)
    stored = opened(a_store(), "other", tmp_path / "videos", items[:1])
    stored.add([0], values(1, seed=7), {})
    stored.flush()
    assert vclip("cache", "clear", "--dataset", "some", "--yes").code == 0
    [entry] = json.loads(vclip("cache", "list", "--json").out)["entries"]
    assert entry["datasets"] == ["other"] and entry["items"] == 1


@pytest.mark.parametrize(
    "arguments",
    [(), ("--kind", "embedding"), ("--key", "zz"), ("--dataset", "x"), ("--all", "--kind", "toy")],
)
def test_clearing_what_makes_no_sense(vclip: Callable, own_cache: Path, arguments: tuple) -> None:
    assert vclip("cache", "clear", *arguments, "--yes").code == 2


def test_the_cache_commands_load_no_torch() -> None:
    code = (
        "import sys; from vclip_cli.__main__ import run\n"
        "code = run(['cache', 'list']); assert code == 0 and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)


def test_everything_that_commands_leave_in_the_cache_is_known_to_it(vclip, own_home, monkeypatch):
    monkeypatch.setenv("VCLIP_CACHE", str(own_home / "cache"))
    assert vclip("extract", "toy", "--frames", 2, "--limit", 2).code == 0
    run = ("eval", "-p", "multi-label", "-d", "toy-multi", "--limit", 2, "--out", "run")
    assert vclip(*run).code in (0, 4)  # two clips may not do for a threshold
    listed = json.loads(vclip("cache", "list", "--json").out)["entries"]
    assert {entry["kind"] for entry in listed} >= {"frames", "toy"}
    assert {name for entry in listed for name in entry["datasets"]} >= {"toy", "toy-multi"}
    assert vclip("cache", "clear", "--all", "--yes").code == 0
    assert not [path for path in (own_home / "cache").rglob("*") if path.is_file()]
