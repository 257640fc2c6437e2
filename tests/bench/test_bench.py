"""`vclip bench`: what it measures, what it leaves out, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from make_clips import write_clip
from this_process import ThisProcess
from tiny_clip import tiny_backbone

from vclip_cli.bench import stages, training
from vclip_cli.bench.sources import find_source, sound_videos
from vclip_cli.bench.stages import count_flops, made_up_videos
from vclip_cli.bench.timing import Marks, Part, Seconds, repeated, timed
from vclip_cli.bench.training import measure_step
from vclip_cli.common.errors import DataError, UsageError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.engine.requests import Request
from vclip_cli.engine.specs import InputSpec
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.video.decoders import decoder_versions

QUICK = ("--backbone", "toy", "--frames", 2, "--rounds", 2)
HAS_DECORD = decoder_versions()["decord"] is not None


@pytest.fixture(autouse=True)
def a_small_matrix_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "PRODUCT", (256, 256, 256))


def parts_of(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {part["part"]: part for part in document["parts"]}


def test_everything_is_measured_on_files_and_damage_is_left_out(vclip: Callable) -> None:
    folder = Path("vidéos #1")
    folder.mkdir()
    write_clip(folder / "a clip.mp4", 12)
    write_clip(folder / "b.avi", 12, codec="mpeg4")
    whole = write_clip(Path("c.avi"), 12, codec="mpeg4").read_bytes()
    (folder / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    (folder / "no video.mp4").write_bytes(b"not a video")
    (folder / "notes.txt").write_text("not looked at")
    ran = vclip("bench", folder, *QUICK, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    parts = parts_of(document)
    readers = ["REF", "decode, exact", "decode, decord"] if HAS_DECORD else ["decode, exact"]
    others = ["read store", "preprocess", "transfer", "encoder", "matrix product", "end to end"]
    assert list(parts) == readers + others
    assert parts["read store"]["remark"] == "not measured: no frame store"
    unmeasured = {"read store"} if torch.cuda.is_available() else {"read store", "transfer"}
    for name, part in parts.items():
        assert len(part["rounds"]) == (0 if name in unmeasured else 2), name
        assert (part["videos_per_second"] is None) == (name in unmeasured)
    if HAS_DECORD:
        pairs = zip(parts["REF"]["rounds"], parts["decode, exact"]["rounds"], strict=True)
        ratios = [slow["wall"] / fast["wall"] for slow, fast in pairs]
        expected = pytest.approx(sum(ratios) / 2)
        assert parts["decode, exact"]["over_reference"]["wall"] == expected
    assert sum(document["shares"].values()) == pytest.approx(1)
    assert document["limits"] == max(document["shares"], key=document["shares"].get)
    assert document["pretrained"] == "random"
    assert [Path(clip).name for clip in document["listed"]] == ["a clip.mp4", "b.avi"]
    left_out = {Path(row["video"]).name: row["reason"] for row in document["left_out"]}
    assert set(left_out) == {"cut.avi", "no video.mp4"}
    assert "left out" in ran.err


def test_the_table_of_the_embedded_benchmark(vclip: Callable) -> None:
    ran = vclip("bench", "--limit", 2, "--frames", 2, "--rounds", 1)
    assert ran.code == 0, ran.err
    for words in ("toy", "decode, exact", "not measured: no GPU", "GFLOP/s", "end to end"):
        assert words in ran.out or torch.cuda.is_available()
    assert "slowest stage:" in ran.err


@pytest.mark.skipif(not HAS_DECORD, reason="decord is not installed")
def test_without_decord_there_is_no_reference(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vclip_cli.bench.reading.decoder_versions", lambda: {"exact": "1", "decord": None}
    )
    ran = vclip("bench", write_clip(Path("one.mp4"), 12), *QUICK, "--json")
    document = json.loads(ran.out)
    assert "REF" not in parts_of(document)
    assert parts_of(document)["decode, exact"]["over_reference"] is None
    plain = vclip("bench", "one.mp4", *QUICK)
    assert "decord is not installed" in plain.err


def test_a_frame_store_is_measured_where_it_keeps_the_frames(vclip: Callable) -> None:
    for name in ("one", "two", "three"):
        Path("mine", name).mkdir(parents=True)
        write_clip(Path("mine", name, f"{name}.mp4"), 12)
    assert vclip("data", "add", "mine", "--videos", "mine").code == 0
    extract = ("extract", "mine", "--frames", 2, "--out", "store")
    quick = ("bench", "mine", "--backbone", "toy", "--rounds", 1, "--store", "store")
    assert vclip(*extract, "--limit", 2).code == 0
    refused = vclip(*quick, "--frames", 2)
    assert refused.code == 4 and "does not keep" in refused.err
    assert vclip(*extract).code == 0
    ran = vclip(*quick, "--frames", 2, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert parts_of(document)["read store"]["videos_per_second"] > 0
    assert parts_of(document)["end to end, store"]["videos_per_second"] > 0
    assert set(document["shares_from_store"]) == {"read store", "preprocess", "encoder"}
    assert sum(document["shares_from_store"].values()) == pytest.approx(1)
    assert "slowest stage from the store: " in vclip(*quick, "--frames", 2).err
    assert vclip(*quick, "--frames", 4).code == 4
    assert vclip(*quick[:-1], "nowhere", "--frames", 2).code == 4


def test_workers_are_measured_once_they_are_under_way(vclip: Callable) -> None:
    clip = write_clip(Path("one.mp4"), 12)
    ran = vclip("bench", clip, *QUICK, "--workers", 1, "--rounds", 1, "--json")
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    loading = parts_of(document)["files, 1 worker"]
    assert loading["videos"] == 1 and loading["videos_per_second"] > 1
    assert set(document["shares"]) >= {"files, 1 worker", "encoder"} - {"decode, exact"}
    assert document["limits_from_store"] is None


def test_what_passes_before_all_workers_are_under_way_does_not_count() -> None:
    marks = Marks([(8, 1.0, 0.0), (16, 11.0, 1.0), (40, 13.0, 1.5), (64, 15.0, 2.0)])
    assert marks.seconds_for(2, 3) == Seconds(pytest.approx(1 / 6), pytest.approx(1 / 24))
    assert marks.seconds_for(2, 0) is None
    assert repeated("abc", 0, 8) == ["a", "b", "c"]
    assert len(repeated("abc", 2, 8)) == 129 and len(repeated("abc", 1, 100)) == 402


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nowhere.mp4",), 2, "nowhere"),
        (("hmdb", "nowhere.mp4"), 2, "no such file"),
        (("empty",), 4, "holds no video"),
        (("bad.mp4",), 4, "no video can be measured"),
        (("bad.mp4", "--precision", "fp31"), 2, "fp32"),
        (("--frames", 0), 2, ""),
        (("--rounds", 0), 2, ""),
        (("--training", "vita-clop"), 2, "vita-clip"),
        (("--training", ","), 2, "names no method"),
        (("bad.mp4", "--training", "x-clip"), 2, "takes no videos"),
        (("bad.mp4", "--compile"), 2, "measured with --training"),
    ],
)
def test_what_cannot_be_measured_is_said(
    vclip: Callable, arguments: tuple, code: int, words: str
) -> None:
    Path("empty").mkdir()
    Path("bad.mp4").write_bytes(b"no video")
    ran = vclip("bench", *arguments, "--backbone", "toy")
    assert ran.code == code, ran.err
    assert words in ran.err
    assert not ran.out


def test_many_clips_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vclip_cli.bench.sources.prepare_videos", lambda *a, **k: None)
    everything, few = find_source([], 10_000), find_source([], 3)
    places = [everything.videos.index(item) for item in few.videos]
    count = len(everything.videos)
    assert places == [count // 6, count // 2, count * 5 // 6]
    with pytest.raises(UsageError):
        find_source(["toi"], 3)


def test_a_dataset_goes_before_a_folder_of_its_name() -> None:
    Path("toy-shapes").mkdir()
    write_clip(Path("toy-shapes/one.mp4"), 12)
    assert find_source(["toy-shapes"], 1).dataset == "toy-shapes"
    own = find_source(["./toy-shapes"], 5)
    assert own.dataset is None and [item.video for item in own.videos] == ["toy-shapes/one.mp4"]


def test_one_video_must_be_sound() -> None:
    Path("bad.mp4").write_bytes(b"no video")
    source = find_source(["bad.mp4"], 3)
    with pytest.raises(DataError, match="no video can be measured"):
        sound_videos(source, 2)


def test_ratios_are_medians_of_pairs() -> None:
    slow = Part("REF", 2, [Seconds(4, 2), Seconds(9, 2), Seconds(8, 8)])
    fast = Part("ours", 2, [Seconds(2, 1), Seconds(3, 2), Seconds(1, 2)])
    assert fast.over(slow) == (3, 2)
    assert fast.seconds_per_video == 1
    assert slow.over(slow) is None
    assert Part("nothing").over(slow) is None
    took = timed(lambda: sum(range(100_000)))
    assert took.cpu > 0 and took.wall > 0


def test_operations_are_those_that_are_carried_out() -> None:
    reading = VideoReading(InputSpec(frames=4, preprocessing=Preprocessing(size=32)))
    adapter = ClipAdapter(tiny_backbone())
    videos = made_up_videos(reading, 1, torch.device("cpu"))
    width, tokens, frames = 64, 5, 4
    block = 12 * width * width * tokens + 2 * tokens * tokens * width
    last = (2 * tokens + 10) * width * width + 2 * tokens * width
    patches, projection = 4 * 3 * 256 * width, width * 64
    expected = 2 * frames * (2 * block + last + patches + projection)
    assert count_flops(adapter, videos) == expected


@pytest.mark.parametrize("method", ["vifi-clip", "x-clip"])
def test_a_training_step_is_measured(method: str) -> None:
    toy = {"backbone": "toy", "batch_size": 2, "device": "cpu"}
    request = Request.of("bench", {**toy, "method": method})
    step = measure_step(request, rounds=2, threads=torch.get_num_threads())
    assert step.method == method
    assert step.trained > 100_000
    assert len(step.rounds) == 2 and step.seconds > 0
    assert step.peak_mb is None or step.peak_mb >= (step.resting_mb or 0) > 0
    with pytest.raises(UsageError, match="nothing to train"):
        measure_step(Request.of("bench", {**toy, "method": "clip"}), rounds=1, threads=1)


def test_training_steps_of_several_methods(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "ProcessPoolExecutor", lambda *a, **k: ThisProcess())
    arguments = ("bench", "--training", "vl-prompt, vita-clip", *QUICK)
    document = json.loads(vclip(*arguments, "--json").out)
    assert [step["method"] for step in document["steps"]] == ["vl-prompt", "vita-clip"]
    assert document["batch_size"] == 2
    shown = vclip(*arguments)
    assert "peak memory" in shown.out and "vita-clip" in shown.out
    lean = vclip(*arguments, "--gradient-checkpointing")
    assert lean.code == 0 and "gradient checkpointing" in lean.out
