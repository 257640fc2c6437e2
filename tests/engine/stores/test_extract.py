"""`vclip extract`, and evaluation and training from what it made."""

from __future__ import annotations

import json
import resource
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
from make_clips import paint, read_number, write_clip
from PIL import Image

from vclip_cli.common.files import OWNER_FILE
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.loading.datasets import default_store, open_dataset
from vclip_cli.engine.loading.videos import ListedVideo, VideoReading, VideoSet, video_batches
from vclip_cli.engine.requests import Request
from vclip_cli.engine.specs import InputSpec
from vclip_cli.engine.stores.extract import extract as run_extract
from vclip_cli.engine.stores.extract_plan import plan_extract
from vclip_cli.engine.training.samples import (
    SampleReading,
    TrainingData,
    TrainingItem,
    micro_batches,
)
from vclip_cli.models.checkpoint import read_info
from vclip_cli.results.predictions import read_predictions
from vclip_cli.results.record import read_record
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.sampling import Sampling
from vclip_cli.video.store_format import INDEX_FILE, SETTINGS_FILE

X264 = {"preset": "veryfast", "x264-params": "keyint=12:bframes=2:scenecut=0"}
SMALL = Preprocessing(size=32, resize_to=32, interpolation="cv2-bilinear")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    options = {"movflags": "faststart"}
    return write_clip(folder / "clip.mp4", 40, options=X264, container_options=options)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default stores lie in the cache: one for each test."""
    monkeypatch.setenv("VCLIP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def toy_videos(own_cache: None, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clips that are rendered once for all tests."""
    monkeypatch.setenv("VCLIP_CACHE", str(shared_cache))


def add_dataset(vclip: Callable, root: Path, name: str = "mine") -> None:
    ran = vclip("data", "add", name, "--videos", root)
    assert ran.code == 0, ran.err


def copies(clip: Path, root: Path, count: int) -> Path:
    for number in range(count):
        folder = root / ("left", "right")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / f"clip{number:03d}.mp4")
    return root


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name in (SETTINGS_FILE, INDEX_FILE) or path.suffix == ".bin"
    }


def extract(vclip: Callable, *more: object, code: int = 0) -> dict:
    ran = vclip("extract", "mine", "--frames", "4,8", *more, "--json")
    assert ran.code == code, ran.err
    return json.loads(ran.out) if code == 0 else {"err": ran.err}


def evaluate(vclip: Callable, out: str, *more: object) -> dict:
    base = ("eval", "-d", "mine", "--backbone", "toy", "--frames", 8, "--out", out)
    ran = vclip(*base, *more)
    assert ran.code == 0, ran.err
    return json.loads((Path(out) / "mine_all" / "record.json").read_text())


def damage(data: bytes) -> bytes:
    """Flip bytes in the second half of the pictures."""
    broken = bytearray(data)
    start = data.index(b"mdat") + 8
    for place in range(start + (len(data) - start) // 2, len(data), 97):
        broken[place] ^= 0xFF
    return bytes(broken)


@pytest.fixture
def bad_files(clip: Path, tmp_path: Path) -> Path:
    """A dataset of sound clips and of one of each kind of bad file."""
    root = copies(clip, tmp_path / "videos", 4)
    data = clip.read_bytes()
    left = root / "left"
    (left / "empty.mp4").touch()
    (left / "truncated.mp4").write_bytes(data[: len(data) // 20])
    (left / "cut.mp4").write_bytes(data[: (data.index(b"mdat") + len(data)) // 2])
    (left / "flipped.mp4").write_bytes(damage(data))
    (left / "text.mp4").write_text("no video at all")
    Image.fromarray(paint(77)).save(left / "still.mp4", "JPEG")
    return root


BAD = {
    "empty": "is empty",
    "truncated": "holds no video stream",
    "text": "cannot be read as a video",
    "still": "single frame",
}


def test_bad_files_become_failures_with_a_reason(vclip: Callable, bad_files: Path) -> None:
    add_dataset(vclip, bad_files)
    ran = vclip("extract", "mine", "--frames", "8")
    assert ran.code == 0, ran.err
    assert "4 of 10 listed videos could not be extracted" in ran.err
    assert "2 clips show signs of damage" in ran.err
    assert "6 of 10 clips stored" in ran.out
    again = vclip("extract", "mine", "--frames", "8", "--json")
    summary = json.loads(again.out)
    assert (summary["stored"], summary["failed"], summary["written"]) == (6, 4, 0)
    reasons = {entry["video"]: entry["reason"] for entry in summary["failures"]}
    for name, reason in BAD.items():
        assert reason in reasons[f"left/{name}"]


def test_failures_and_damage_reach_the_record_alike(vclip: Callable, bad_files: Path) -> None:
    add_dataset(vclip, bad_files)
    assert vclip("extract", "mine", "--frames", "8").code == 0
    source = evaluate(vclip, "source")
    store = evaluate(vclip, "store", "--frames-from", "store")
    assert source["failures"] == store["failures"] and len(source["failures"]) == len(BAD)
    assert source["damage"] == store["damage"]
    assert [entry["video"] for entry in source["damage"]] == ["left/cut", "left/flipped"]
    assert all(sum(v for v in e.values() if isinstance(v, int)) > 0 for e in source["damage"])
    assert source["video"]["store"] is None
    assert store["video"]["store"] == FrameStore.open(default_store("mine")).describe()
    assert source["config"]["run_sha256"] != store["config"]["run_sha256"]


def test_damage_outlives_an_interrupted_evaluation(
    vclip: Callable, bad_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_dataset(vclip, bad_files)
    whole = evaluate(vclip, "whole")

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("vclip_cli.engine.evaluation.evaluate.write_predictions", stop)
        assert (
            vclip("eval", "-d", "mine", "--backbone", "toy", "--frames", 8, "--out", "run").code
            == 130
        )
    assert list(Path("run").rglob("*.safetensors"))
    resumed = evaluate(vclip, "run")
    assert resumed["damage"] == whole["damage"] and resumed["damage"]


def test_a_file_that_may_not_be_read(
    vclip: Callable, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    real = Path.open

    def refuse(path, *arguments, **options):
        if path.name == "clip000.mp4":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        summary = extract(vclip)
    assert summary["failures"] == [
        {
            "video": "left/clip000",
            "reason": "the video file cannot be read: Permission denied",
        }
    ]
    assert extract(vclip)["stored"] == 2  # failures are tried again


def test_no_video_at_all(vclip: Callable, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "videos" / name).mkdir(parents=True)
        (tmp_path / "videos" / name / "clip.mp4").write_text("no video")
    add_dataset(vclip, tmp_path / "videos")
    assert "none of the 2 listed videos" in extract(vclip, code=4)["err"]


def test_the_number_of_workers_changes_no_byte(vclip: Callable, bad_files: Path) -> None:
    add_dataset(vclip, bad_files)
    extract(vclip, "--out", "alone")
    extract(vclip, "--out", "two", "--workers", 2)
    assert contents(Path("alone")) == contents(Path("two"))


def test_a_killed_extraction_goes_on_to_the_same_bytes(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 120))
    extract(vclip, "--out", "whole")
    command = [sys.executable, "-m", "vclip_cli", "extract", "mine", "--frames", "4,8"]
    for workers in ("0", "1"):
        out = f"killed{workers}"
        started = subprocess.Popen([*command, "--out", out, "--workers", workers, "-q"])
        index = Path(out) / INDEX_FILE
        while started.poll() is None and not (index.exists() and index.stat().st_size):
            time.sleep(0.001)
        started.send_signal(signal.SIGKILL)
        assert started.wait() == -signal.SIGKILL
        assert 0 < len(FrameStore.open(out).index.rows) < 120
    extract(vclip, "--out", "killed0", "--workers", 1)
    extract(vclip, "--out", "killed1")
    assert contents(Path("killed0")) == contents(Path("killed1")) == contents(Path("whole"))


def test_a_full_disk_ends_clearly_and_can_be_continued(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 60))
    extract(vclip, "--out", "whole")
    limit = (Path("whole") / "frames-00000.bin").stat().st_size * 2 // 3

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "vclip_cli", "extract", "mine", "--frames", "4,8"]
    done = subprocess.run(
        [*command, "--out", "part"], capture_output=True, text=True, preexec_fn=small_files
    )
    assert done.returncode == 4, done.stderr
    assert "no space left" in done.stderr and "Traceback" not in done.stderr
    store = FrameStore.open("part")
    rows = store.index.latest()
    assert 0 < len(rows) < 60 and all(store.check(row) is None for row in rows)
    extract(vclip, "--out", "part")
    assert contents(Path("part")) == contents(Path("whole"))


def test_new_changed_and_vanished_videos(vclip: Callable, clip: Path, tmp_path: Path) -> None:
    root = copies(clip, tmp_path / "videos", 4)
    add_dataset(vclip, root)
    assert extract(vclip)["written"] == 4
    write_clip(root / "left" / "clip000.mp4", 90)
    shutil.copy(clip, root / "right" / "new.mp4")
    (root / "right" / "clip001.mp4").unlink()
    add_dataset(vclip, root)
    summary = extract(vclip)
    assert (summary["listed"], summary["written"], summary["changed"]) == (4, 2, 1)
    store = FrameStore.open(default_store("mine"))
    found = store.decode("left/clip000", Sampling(8).indices)
    assert [read_number(f) for f in found.frames] == Sampling(8).indices(90)[0].tolist()
    assert "right/new" in store and "right/clip001" in store
    shutil.rmtree(root / "left")
    ran = vclip("extract", "mine", "--frames", "4,8", "--json")
    assert json.loads(ran.out)["written"] == 0
    assert "left/clip000" in FrameStore.open(default_store("mine"))


def test_other_settings_are_refused_unless_everything_is_made_anew(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    extract(vclip)
    before = contents(default_store("mine"))
    for more in (("--quality", 90), ("--size", 64), ("--segments-jitter", 2), ("--clips", 2)):
        ran = extract(vclip, *more, code=2)
        assert "other settings" in ran["err"] and "--no-resume" in ran["err"]
        dry = vclip("extract", "mine", "--frames", "4,8", *more, "--dry-run")
        assert dry.code == 2
    assert contents(default_store("mine")) == before
    extract(vclip, "--size", 64, "--no-resume")
    assert FrameStore.open(default_store("mine")).settings.short_side == 64


def test_a_check_gives_back_what_changed_clips_left(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    root = copies(clip, tmp_path / "videos", 4)
    add_dataset(vclip, root)
    size = extract(vclip)["bytes"]
    for frames in (90, 80):
        write_clip(root / "left" / "clip000.mp4", frames)
        summary = extract(vclip)
    assert summary["bytes"] > 1.4 * size
    checked = extract(vclip, "--verify")
    assert checked["checked"]["freed"] > 0.4 * size and checked["bytes"] < 1.1 * size
    assert extract(vclip, "--verify")["checked"]["freed"] == 0
    (root / "right" / "clip001.mp4").write_bytes(clip.read_bytes() + b"\0")  # and it goes on
    extract(vclip)
    store = FrameStore.open(default_store("mine"))
    assert all(store.check(row) is None for row in store.index.latest())
    for name, count in (("left/clip000", 80), ("right/clip001", 40), ("left/clip002", 40)):
        found = store.decode(name, Sampling(8).indices)
        expected = Sampling(8).indices(count)[0].tolist()
        assert [read_number(frame) for frame in found.frames] == expected


def test_a_store_of_other_versions_is_read_and_checked_but_gets_no_clips_of_these(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    root = copies(clip, tmp_path / "videos", 4)
    (root / "left" / "bad.mp4").write_bytes(b"no video")
    add_dataset(vclip, root)
    extract(vclip)
    plain = evaluate(vclip, "plain", "--frames-from", "store")
    path = default_store("mine") / SETTINGS_FILE
    document = json.loads(path.read_text())
    document["settings"]["encoder"] = "simplejpeg 0.9"
    document["settings"]["decoder"]["version"] = "1.0 (FFmpeg 2)"
    path.write_text(json.dumps(document))
    before = contents(default_store("mine"))
    record = evaluate(vclip, "older", "--frames-from", "store")
    assert record["metrics"] == plain["metrics"]
    assert record["video"]["store"]["encoder"] == "simplejpeg 0.9"
    assert (extract(vclip)["written"], extract(vclip)["failed"]) == (0, 1)
    assert extract(vclip, "--verify")["checked"]["damaged"] == 0
    for shard in ("1/2", "2/2"):
        assert vclip("extract", "mine", "--frames", "4,8", "--shard", shard).code == 0
    assert extract(vclip, "--merge")["written"] == 0
    shutil.copy(clip, root / "left" / "new.mp4")
    add_dataset(vclip, root)
    for more in ((), ("--dry-run",), ("--shard", "1/1")):
        ran = vclip("extract", "mine", "--frames", "4,8", *more)
        assert ran.code == 2 and "simplejpeg 0.9" in ran.err and "--no-resume" in ran.err
    assert "other settings" in extract(vclip, "--size", 64, code=2)["err"]
    assert contents(default_store("mine")) == before
    assert extract(vclip, "--no-resume")["written"] == 5


def test_one_process_at_a_time(vclip: Callable, clip: Path, tmp_path: Path) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    folder = default_store("mine")
    extract(vclip)
    hold = (
        "import sys, time\nfrom pathlib import Path\n"
        "from vclip_cli.common.files import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), 'extracting into'):\n"
        "    print('held', flush=True)\n    time.sleep(2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold, folder], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        ran = vclip("extract", "mine", "--frames", "4,8")
        assert ran.code == 0 and f"waiting: process {holder.pid} on " in ran.err
    (folder / OWNER_FILE).write_text('{"pid": 1, "host": "gone", "since": "then"}')
    assert extract(vclip)["stored"] == 2  # nobody holds it: what a killed process left is no lock
    assert not (folder / OWNER_FILE).exists()


def test_the_estimate_is_near_the_truth(vclip: Callable, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(90):
        folder = tmp_path / "videos" / ("a", "b")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        width = 2 * int(rng.integers(40, 90))
        write_clip(folder / f"{number}.mp4", int(rng.integers(6, 20)), size=(width, 64))
    add_dataset(vclip, tmp_path / "videos")
    estimate = extract(vclip, "--dry-run")
    assert not default_store("mine").exists()
    truth = extract(vclip)["bytes"]
    assert abs(estimate["needed"] / truth - 1) < 0.15
    assert estimate["low"] <= truth <= estimate["high"] * 1.01
    assert 64 <= estimate["sampled"] <= estimate["clips"] == 90
    after = extract(vclip, "--dry-run")
    assert (after["clips"], after["needed"]) == (0, 0) and after["there"] == truth


def test_verify_finds_damage_and_repairs_it(vclip: Callable, clip: Path, tmp_path: Path) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 6))
    folder = default_store("mine")
    extract(vclip)
    assert extract(vclip, "--verify")["checked"] == {
        "clips": 6, "damaged": 0, "reasons": [], "dropped_rows": 0, "freed": 0
    }  # fmt: skip
    shard = folder / "frames-00000.bin"
    broken = bytearray(shard.read_bytes())
    broken[len(broken) // 2] ^= 1
    shard.write_bytes(broken)
    dry = vclip("extract", "mine", "--frames", "4,8", "--verify", "--dry-run", "--json")
    assert dry.code == 4 and json.loads(dry.out)["checked"]["damaged"] == 1
    summary = extract(vclip, "--verify", "--workers", 2)
    assert summary["checked"]["damaged"] == 1 and summary["written"] == 1
    assert extract(vclip, "--verify")["checked"]["damaged"] == 0
    index = folder / INDEX_FILE
    rows = bytearray(index.read_bytes())
    rows[100] ^= 1
    index.write_bytes(rows)
    assert "--verify" in extract(vclip, code=4)["err"]
    assert extract(vclip, "--verify")["checked"]["dropped_rows"] == 1
    assert extract(vclip, "--verify")["stored"] == 6


def _cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 3])


@pytest.mark.parametrize(
    "name, spoil, code, words",
    [
        (SETTINGS_FILE, lambda p: p.write_text('{"version": 2}'), 4, "newer version"),
        (SETTINGS_FILE, _cut_in_half, 4, "damaged"),
        (SETTINGS_FILE, Path.unlink, 4, "no frame store here"),
        (INDEX_FILE, _cut_in_half, 4, "cut off"),
        (INDEX_FILE, Path.unlink, 4, "not in the frame store"),
        ("frames-00000.bin", Path.unlink, 4, "cannot be read"),
    ],
)
def test_evaluation_from_a_spoilt_store(
    vclip: Callable, clip: Path, tmp_path: Path, name: str, spoil: Callable, code: int, words: str
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    extract(vclip)
    spoil(default_store("mine") / name)
    ran = vclip("eval", "-d", "mine", "--backbone", "toy", "--frames", 8, "--frames-from", "store")
    assert ran.code == code and words in ran.err and "Traceback" not in ran.err


def test_a_store_that_is_cut_off_gives_failures_for_what_is_lost(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 4))
    extract(vclip)
    _cut_in_half(default_store("mine") / "frames-00000.bin")
    record = evaluate(vclip, "run", "--frames-from", "store")
    assert record["counts"]["scored"] == 2
    assert {failure["reason"] for failure in record["failures"]} == {"the frame store is cut off"}


def test_a_clip_that_is_missing_or_stale_is_a_failure_and_never_decoded(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    root = copies(clip, tmp_path / "videos", 4)
    add_dataset(vclip, root)
    extract(vclip, "--limit", 3)
    write_clip(root / "left" / "clip000.mp4", 50)
    add_dataset(vclip, root)
    record = evaluate(vclip, "run", "--frames-from", "store")
    reasons = {failure["video"]: failure["reason"] for failure in record["failures"]}
    assert reasons["left/clip000"] == "the video has changed since its frames were stored"
    assert [reasons[name] for name in reasons if name != "left/clip000"] == [
        "not in the frame store"
    ]


@pytest.mark.parametrize(
    "more, words",
    [
        (("--frames", 16), "--frames 4,8,16 --no-resume"),
        (("--frames", 8, "--clips", 3), "--frames 4,8 --clips 3 --no-resume"),
        (("--decoder", "decord"), "made by another decoder"),
        (("--frames-from", "nowhere"), "source, store, or the folder"),
    ],
)
def test_what_the_store_cannot_give_is_refused_before_any_work(
    vclip: Callable, clip: Path, tmp_path: Path, more: tuple, words: str
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    extract(vclip)
    base = ("eval", "-d", "mine", "--backbone", "toy", "--frames-from", "store", "--out", "run")
    ran = vclip(*base, *more)
    assert ran.code == 2 and words in ran.err
    assert not Path("run").exists()


def test_a_store_of_small_frames_is_refused_for_weights_that_see_more(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    extract(vclip, "--size", 20, "--out", "store")
    ran = vclip("eval", "-d", "mine", "--backbone", "toy", "--frames", 8, "--frames-from", "store/")
    assert ran.code == 2 and "--size" in ran.err


def test_a_store_of_another_dataset_is_refused(vclip: Callable, clip: Path, tmp_path: Path) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    add_dataset(vclip, copies(clip, tmp_path / "other", 2), "other")
    extract(vclip, "--out", "store")
    ran = vclip("eval", "-d", "other", "--backbone", "toy", "--frames-from", "store/")
    assert ran.code == 4 and "another dataset" in ran.err


@pytest.mark.parametrize("crops, clips", [(1, 1), (3, 1), (1, 3), (3, 3)])
def test_views_decode_each_frame_once_and_are_those_of_the_source(
    vclip: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: int, clips: int
) -> None:
    import simplejpeg

    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos" / "wide.mp4", 40, size=(160, 64))
    (tmp_path / "videos" / "list.txt").write_text("wide.mp4 a\n")
    ran = vclip(
        "data", "add", "mine", "--videos", tmp_path / "videos",
        "--annotations", tmp_path / "videos" / "list.txt",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    extract(vclip, "--clips", 3)
    [video] = FrameStore.open(default_store("mine")).index.latest()
    name = FrameStore.open(default_store("mine")).head(video).video
    items = [ListedVideo(name, "wide.mp4")]
    decoded = []
    real = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: decoded.append(real(*a, **k)))
    views = []
    for store in (None, FrameStore.open(default_store("mine"))):
        asked = InputSpec(frames=4, clips=clips, crops=crops, preprocessing=SMALL)
        reading = VideoReading(asked, store)
        [batch] = video_batches(VideoSet(tmp_path / "videos", items, reading), [range(1)])
        views.append(batch.frames.numpy().astype(int))
    assert len(decoded) == 4 * clips
    assert views[0].shape == (1, crops * clips, 4, 32, 32, 3)
    assert np.abs(views[0] - views[1]).mean() < 3


def test_training_from_a_store_sees_the_frames_of_the_source(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    from vclip_cli.data.recipe import Optimizer, Recipe, SamplingRules, Schedule

    root = copies(clip, tmp_path / "videos", 2)
    add_dataset(vclip, root)
    recipe = Recipe(
        method="clip", source="", frames=4, batch_size=2,
        optimizer=Optimizer(learning_rate=1.0), schedule=Schedule(steps=1),
        sampling=SamplingRules(train="random"), augmentation={"crop": "center"},
    )  # fmt: skip
    whole = Preprocessing(size=64, resize_mode="squash")
    items = [TrainingItem("left/clip000", "left/clip000.mp4", 0)]
    plan = [[(epoch, 0)] for epoch in range(6)]

    def numbers(store: FrameStore | None) -> list[list[int]]:
        reading = SampleReading(root, recipe, whole, 1, False, store=store)
        batches = list(micro_batches(TrainingData(items, reading, []), plan))
        assert not any(batch.failures for batch in batches)
        return [[read_number(frame) for frame in batch.frames.numpy()[0]] for batch in batches]

    source = numbers(None)
    for options in (("--frames", "all"), ("--frames", "4", "--segments-jitter", "10")):
        assert vclip("extract", "mine", *options, "--no-resume").code == 0
        assert numbers(FrameStore.open(default_store("mine"))) == source
    assert vclip(
        "extract", "mine", "--frames", "4", "--segments-jitter", "2", "--no-resume"
    ).code == 0  # fmt: skip
    few = numbers(FrameStore.open(default_store("mine")))
    assert {number % 10 for row in few for number in row} == {2, 7}
    assert all(
        abs(a - b) <= 3 for x, y in zip(few, source, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_training_from_the_store_on_the_command_line(
    vclip: Callable, clip: Path, tmp_path: Path
) -> None:
    """Random draws need candidates; with them the run says where its frames came from."""
    for split in ("train", "test"):
        copies(clip, tmp_path / "videos" / split, 2)
    add_dataset(vclip, tmp_path / "videos")
    train = (
        "train", "-p", "few-shot", "-d", "mine", "--backbone", "toy", "--shots", 1, "--seed", 1,
        "-m", "vl-prompt", "--frames", 8, "--set", "steps=1", "--set", "batch_size=2",
        "--frames-from",
    )  # fmt: skip
    assert vclip("extract", "mine", "--frames", "8", "--out", "plain").code == 0
    ran = vclip(*train, "plain/", "--out", "a")
    assert ran.code == 2 and "--frames 8 --segments-jitter 4" in ran.err
    jitter = ("--frames", "8", "--segments-jitter", 3, "--out", "jitter")
    assert vclip("extract", "mine", *jitter).code == 0
    for path in (tmp_path / "videos").rglob("*.mp4"):
        path.write_bytes(bytes(path.stat().st_size))
    ran = vclip(*train, "jitter/", "--out", "b")
    assert ran.code == 0, ran.err
    told = read_info(Path("b/checkpoint.safetensors")).training
    assert told["store"]["kept"]["jitter"] == 3 and not told["failures"]
    run = vclip(
        "eval", "-p", "few-shot", "-d", "mine", "--checkpoint", "b/checkpoint.safetensors",
        "--frames-from", "jitter/", "--out", "c",
    )  # fmt: skip
    assert run.code == 0, run.err


@pytest.mark.usefixtures("toy_videos")
def test_scores_from_source_and_store_hardly_differ(vclip: Callable) -> None:
    base = ("eval", "-d", "toy", "--split", "test", "--limit", 24)
    assert vclip(*base, "--out", "a").code == 0
    rows = open_dataset("toy").manifest.rows
    names = rows[rows["splits"] == "test"]["video"].tolist()[:24]
    plan = plan_extract(
        Request.of("extract", {"dataset": "toy", "frames": ("8",), "out": Path("store")})
    )
    videos = [listed for listed in plan.videos if listed.video in names]
    written = run_extract(replace(plan, videos=videos))
    assert written.stored == 24
    assert vclip(*base, "--out", "b", "--frames-from", "store/").code == 0
    files = [Path(out) / "toy_test" / "predictions.parquet" for out in ("a", "b")]
    one, two = (read_predictions(path) for path in files)
    assert 0 < np.abs(one.scores - two.scores).mean() < 5e-3
    assert (one.scores.argmax(1) == two.scores.argmax(1)).mean() > 0.9
    assert read_record(Path("b/toy_test/record.json")).video.store is not None


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("mine", "--frames", "8,x"), "such as 8,16,32, or all"),
        (("mine", "--frames", "0"), "such as 8,16,32, or all"),
        (("mine", "--frames", ""), "at least one value"),
        (("mine", "--frames", "all", "--clips", "3"), "keeps every frame"),
        (("min",), "unknown dataset"),
        (("mine", "--decoder", "exakt"), "unknown decoder"),
        (("mine", "--verify", "--no-resume"), "exclude each other"),
        (("mine", "--verify", "--dry-run"), "no frame store to verify"),
        (("mine", "--out", "file/below"), "cannot be written"),
    ],
)
def test_wrong_options(
    vclip: Callable, clip: Path, tmp_path: Path, arguments: tuple, words: str
) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 2))
    Path("file").write_text("in the way")
    ran = vclip("extract", *arguments)
    assert ran.code == 2 and words in ran.err and "Traceback" not in ran.err


def test_extract_loads_no_torch(vclip: Callable, clip: Path, tmp_path: Path) -> None:
    add_dataset(vclip, copies(clip, tmp_path / "videos", 1))
    code = (
        "import sys\nfrom vclip_cli.__main__ import run\n"
        "assert run(['extract', 'mine', '-q']) == 0\n"
        "assert not {'torch', 'open_clip', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
