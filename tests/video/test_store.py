from __future__ import annotations

import contextlib
import json
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from make_clips import read_number, write_clip

from vclip_cli.common.errors import DataError, UsageError, VideoError
from vclip_cli.video import decode
from vclip_cli.video.frame_store import FrameStore
from vclip_cli.video.kept_frames import KeptFrames
from vclip_cli.video.preprocess import shrink_frame
from vclip_cli.video.sampling import Sampling, random_segment_indices, segment_candidates
from vclip_cli.video.store_format import INDEX_FILE, SETTINGS_FILE, make_settings
from vclip_cli.video.store_index import ROW, row_crc
from vclip_cli.video.store_packing import pack_video
from vclip_cli.video.store_writer import StoreWriter

KEPT = KeptFrames(frames=(4, 8), clips=3)
CLIPS = {"a.mp4": (40, "libx264"), "b.avi": (60, "mpeg4"), "c/ünï #1.webm": (30, "libvpx")}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    (folder / "c").mkdir()
    for name, (frames, codec) in CLIPS.items():
        write_clip(folder / name, frames, codec=codec)
    return folder


def write_store(folder: Path, videos: Path, names=tuple(CLIPS), *, kept=KEPT, **options) -> Path:
    settings = make_settings(kept)
    with StoreWriter(folder, "mine", settings, **options) as writer:
        writer.open()
        for name in names:
            writer.add(pack_video(name, videos / name, settings))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("sampling", [Sampling(4), Sampling(8), Sampling(4, 3), Sampling(8, 3)])
def test_the_store_gives_the_frames_of_the_source(tmp_path, videos, sampling):
    store = pickle.loads(pickle.dumps(FrameStore.open(write_store(tmp_path, videos))))
    for name in CLIPS:
        found = store.decode(name, sampling.indices)
        true = decode(videos / name, sampling.indices)
        assert found.indices.tolist() == true.indices.tolist()
        assert [read_number(frame) for frame in found.frames] == true.indices.tolist()
        assert np.abs(found.frames.astype(int) - true.frames).mean() < 3
        for fact in ("frame_count", "rotation", "fps", "duration_seconds", "damaged", "decoder"):
            assert getattr(found, fact) == getattr(true, fact), fact


def test_frames_asked_for_twice_are_decoded_once(tmp_path, videos, monkeypatch):
    import simplejpeg

    store = FrameStore.open(write_store(tmp_path, videos))
    calls = []
    real = simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: calls.append(real(*a, **k)))
    wanted = Sampling(4).indices(40)[0].tolist()
    found = store.decode("a.mp4", lambda n: [wanted[1], wanted[0], wanted[1]])
    assert len(calls) == 2
    assert [read_number(frame) for frame in found.frames] == [wanted[1], wanted[0], wanted[1]]


def test_frames_are_shrunk_and_never_enlarged(tmp_path, videos):
    write_clip(tmp_path / "large.mp4", 5, size=(480, 322))
    settings = make_settings(KeptFrames(every=True), short_side=256)
    packed = pack_video("large", tmp_path / "large.mp4", settings)
    assert (packed.head.height, packed.head.width) == (256, 382)
    small = pack_video("a", videos / "a.mp4", settings)
    assert (small.head.height, small.head.width) == (64, 96)


def test_views_of_v_times_t_frames_are_kept_by_one_view():
    kept = KeptFrames(frames=(8, 32))
    assert kept.covers(Sampling(8, 4)) and kept.covers(Sampling(32)) and kept.covers(Sampling(4, 2))
    assert not kept.covers(Sampling(8, 3)) and not kept.covers(Sampling(16))
    assert not kept.covers(Sampling(8, rule="dense"))
    for n in (3, 7, 31, 32, 90, 301):
        assert set(Sampling(8, 4).indices(n).ravel()) <= set(kept.indices(n))


@pytest.mark.parametrize("n", [5, 8, 30, 97, 300])
@pytest.mark.parametrize("candidates", [1, 3, 4, 1000])
def test_training_draws_only_what_is_kept(n, candidates):
    kept = KeptFrames(frames=(8,), jitter=candidates)
    assert kept.covers_draws(8) and not kept.covers_draws(16)
    stored = set(kept.indices(n).tolist())
    allowed = segment_candidates(n, 8, candidates)
    assert len(allowed) <= 8 * max(candidates, 1) and set(allowed.tolist()) <= stored
    drawn = [
        random_segment_indices(n, 8, np.random.default_rng(seed), candidates) for seed in range(600)
    ]
    assert {int(i) for row in drawn for i in row} == set(allowed.tolist())
    for row in drawn:
        assert (np.diff(row) > 0).all() or n < 8


def test_enough_candidates_leave_the_draws_of_the_source():
    for seed in range(20):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        plain = random_segment_indices(97, 8, rngs[0])
        assert plain.tolist() == random_segment_indices(97, 8, rngs[1], 12).tolist()


def test_what_is_missing_says_which_frames_to_extract(tmp_path, videos):
    store = FrameStore.open(write_store(tmp_path, videos))
    with pytest.raises(VideoError, match=r"does not keep.*--frames 4,8,16 --clips 3 --no-resume"):
        store.decode("a.mp4", Sampling(16).indices)
    with pytest.raises(VideoError, match="--frames all"):
        store.decode("a.mp4", lambda n: [1, 2, 3])
    with pytest.raises(VideoError, match="not in the frame store"):
        store.decode("other", Sampling(8).indices)


def test_a_video_that_cannot_be_decoded_is_kept_with_its_reason(tmp_path, videos):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video")
    settings = make_settings(KEPT)
    folder = tmp_path / "store"
    with StoreWriter(folder, "mine", settings) as writer:
        writer.open()
        for name in ("empty.mp4", "text.mp4", "missing.mp4"):
            writer.add(pack_video(name, tmp_path / name, settings))
        writer.add(pack_video("absent", None, settings))
    store = FrameStore.open(folder)
    for name, reason in (
        ("empty.mp4", "is empty"),
        ("text.mp4", "cannot be read as a video"),
        ("missing.mp4", "no such video file"),
        ("absent", "listed, but not on disk"),
    ):
        assert name not in store
        with pytest.raises(VideoError, match=reason):
            store.decode(name, Sampling(8).indices)


@pytest.mark.parametrize("shard_bytes", [1, 20_000, 1 << 30])
def test_a_killed_writer_is_continued_to_the_same_bytes(tmp_path, videos, shard_bytes):
    whole = contents(write_store(tmp_path / "whole", videos, shard_bytes=shard_bytes))
    part = write_store(tmp_path / "part", videos, list(CLIPS)[:2], shard_bytes=shard_bytes)
    last = sorted(part.glob("frames-*.bin"))[-1]
    with last.open("ab") as stream:
        stream.write(b"what a killed writer left")
    (part / "frames-00009.bin").write_bytes(b"of a shard as well")
    with (part / INDEX_FILE).open("ab") as stream:
        stream.write(b"half a row")
    write_store(part, videos, shard_bytes=shard_bytes)
    assert contents(part) == whole
    write_store(part, videos, shard_bytes=shard_bytes)
    assert contents(part) == whole
    assert FrameStore.open(part).decode("a.mp4", Sampling(8).indices).frames.any()


def test_rows_of_lost_bytes_are_written_again(tmp_path, videos):
    """The end of a shard is gone, as after a power cut of a disk that did not keep its promise."""
    whole = contents(write_store(tmp_path / "whole", videos))
    part = write_store(tmp_path / "part", videos)
    shard = part / "frames-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(VideoError, match="cut off"):
        FrameStore.open(part).decode(list(CLIPS)[2], KEPT.indices)
    write_store(part, videos)
    assert contents(part) == whole


def test_lost_bytes_of_an_early_shard_do_not_touch_the_others(tmp_path, videos):
    folder = write_store(tmp_path, videos, shard_bytes=1)
    (folder / "frames-00001.bin").unlink()
    store = FrameStore.open(folder)
    with pytest.raises(VideoError, match="frame store cannot be read"):
        store.decode("b.avi", Sampling(8).indices)
    assert store.decode("a.mp4", Sampling(8).indices).frames.any()
    write_store(folder, videos, shard_bytes=1)
    store = FrameStore.open(folder)
    assert all(store.check(position) is None for position in store.index.latest())
    assert len(store.index.latest()) == len(CLIPS)


def test_a_flipped_bit_anywhere_in_a_shard_is_found(tmp_path, videos):
    folder = write_store(tmp_path, videos, ["a.mp4"])
    shard = folder / "frames-00000.bin"
    good = shard.read_bytes()
    for place in np.linspace(0, len(good) - 1, 60).astype(int):
        broken = bytearray(good)
        broken[place] ^= 4
        shard.write_bytes(broken)
        assert FrameStore.open(folder).check(0) is not None
    with pytest.raises(VideoError, match="are damaged"):
        FrameStore.open(folder).decode("a.mp4", KEPT.indices)


def test_a_flipped_bit_anywhere_in_the_index_is_found(tmp_path, videos):
    folder = write_store(tmp_path, videos)
    index = folder / INDEX_FILE
    good = index.read_bytes()
    assert len(good) == len(CLIPS) * ROW.itemsize == len(CLIPS) * 64
    for place in range(0, len(good), 3):
        broken = bytearray(good)
        broken[place] ^= 16
        index.write_bytes(broken)
        with pytest.raises(DataError, match=r"index .* is damaged.*--verify"):
            FrameStore.open(folder)
    index.write_bytes(good[:-1])
    with pytest.raises(DataError, match="cut off"):
        FrameStore.open(folder)


def test_a_damaged_row_is_refused_by_the_writer_and_left_out_by_a_repair(tmp_path, videos):
    whole = contents(write_store(tmp_path / "whole", videos))
    folder = write_store(tmp_path / "store", videos)
    index = folder / INDEX_FILE
    broken = bytearray(index.read_bytes())
    broken[70] ^= 1
    index.write_bytes(broken)
    settings = make_settings(KEPT)
    with pytest.raises(DataError, match="1 of 3 rows"), StoreWriter(folder, "mine", settings) as w:
        w.open()
    with StoreWriter(folder, "mine", settings) as writer:
        writer.open(repair=True)
        assert writer.dropped_rows == 1 and writer.index.kept("b.avi") is None
        assert writer.index.kept("a.mp4") and writer.index.kept("c/ünï #1.webm")
        writer.add(pack_video("b.avi", videos / "b.avi", settings))
    store = FrameStore.open(folder)
    assert store.decode("b.avi", Sampling(8).indices).frames.any()
    assert (
        whole["frames-00000.bin"]
        == (folder / "frames-00000.bin").read_bytes()[: len(whole["frames-00000.bin"])]
    )


def test_an_index_of_another_store_is_told(tmp_path, videos):
    one = write_store(tmp_path / "one", videos, ["a.mp4", "b.avi"])
    rows = np.fromfile(one / INDEX_FILE, ROW)
    rows["key"] = rows["key"][::-1]
    for number in range(2):
        rows["crc"][number] = row_crc(rows[number].tobytes())
    rows.tofile(one / INDEX_FILE)
    with pytest.raises(DataError, match="does not belong to its files"):
        FrameStore.open(one).decode("a.mp4", Sampling(8).indices)
    two = write_store(tmp_path / "two", videos, ["b.avi", "a.mp4"])
    (two / INDEX_FILE).write_bytes((write_store(tmp_path / "n", videos) / INDEX_FILE).read_bytes())
    with pytest.raises(DataError):
        FrameStore.open(two).decode("a.mp4", Sampling(8).indices)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[1]", "no version"),
        ('{"version": 1}', "no key"),
        ('{"version": 99, "other": {}}', "newer version"),
        ('{"version": 1, "dataset": "d", "settings": {"quality": "high"}}', "damaged"),
    ],
)
def test_damaged_settings(tmp_path, videos, text, reason):
    folder = write_store(tmp_path, videos, ["a.mp4"])
    (folder / SETTINGS_FILE).write_text(text)
    with pytest.raises(DataError, match=reason):
        FrameStore.open(folder)


def test_a_folder_without_a_store(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError, match="no frame store here"):
            FrameStore.open(folder)


def test_a_store_with_other_settings_is_not_touched(tmp_path, videos):
    folder = write_store(tmp_path, videos)
    before = contents(folder)
    with pytest.raises(UsageError, match=r"found kept --frames 4,8 --clips 3.*--no-resume"):
        write_store(folder, videos, kept=KeptFrames(frames=(16,)))
    assert contents(folder) == before


def test_a_touched_source_costs_a_row_and_no_bytes(tmp_path, videos):
    folder = write_store(tmp_path / "store", videos)
    before = contents(folder)
    settings = make_settings(KEPT)
    packed = pack_video("a.mp4", videos / "a.mp4", settings)
    touched = replace(packed, source=replace(packed.source, mtime=1))
    with StoreWriter(folder, "mine", settings) as writer:
        writer.open()
        assert not writer.add(packed)
        assert writer.add(touched)
    after = contents(folder)
    assert after["frames-00000.bin"] == before["frames-00000.bin"]
    assert len(after[INDEX_FILE]) == len(before[INDEX_FILE]) + ROW.itemsize
    assert FrameStore.open(folder).decode("a.mp4", Sampling(8).indices).frames.any()


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system refuses to write files of more bytes, as a full disk does."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing_that_was_whole(tmp_path, videos):
    whole = contents(write_store(tmp_path / "whole", videos))
    settings = make_settings(KEPT)
    folder = tmp_path / "store"
    clips = [pack_video(name, videos / name, settings) for name in CLIPS]
    sizes = [len(clip.head.packed()) + len(clip.body) for clip in clips]
    with (
        pytest.raises(DataError, match="no space left"),
        StoreWriter(folder, "mine", settings) as writer,
    ):
        writer.open()
        writer.add(clips[0])
        writer.commit()
        with files_of_at_most(sizes[0] + sizes[1] // 2):
            writer.add(clips[1])
    assert (folder / "frames-00000.bin").stat().st_size == sizes[0]
    store = FrameStore.open(folder)
    assert store.decode("a.mp4", Sampling(8).indices).frames.any()
    write_store(folder, videos)
    assert contents(folder) == whole


def test_opening_300_000_clips_takes_a_moment(tmp_path, videos):
    import time

    folder = write_store(tmp_path, videos, ["a.mp4"])
    row = np.fromfile(folder / INDEX_FILE, ROW)
    rows = np.repeat(row, 300_000)
    rows["key"] = np.random.default_rng(0).integers(2**63, size=len(rows), dtype=np.uint64)
    data = rows.tobytes()
    body = [data[start : start + 60] for start in range(0, len(data), 64)]
    (folder / INDEX_FILE).write_bytes(
        b"".join(part + zlib.crc32(part).to_bytes(4, "little") for part in body) + row.tobytes()
    )
    started = time.process_time()
    store = FrameStore.open(folder)
    assert "a.mp4" in store and "b" not in store
    assert time.process_time() - started < 3


def test_describe_names_what_identifies_the_frames(tmp_path, videos):
    one = FrameStore.open(write_store(tmp_path / "one", videos))
    two = FrameStore.open(write_store(tmp_path / "two", videos, ["a.mp4"]))
    assert one.describe() == two.describe()
    assert json.loads(json.dumps(one.describe())) == one.describe()
    other = FrameStore.open(
        write_store(tmp_path / "three", videos, ["a.mp4"], kept=KeptFrames(frames=(4,)))
    )
    assert other.describe() != one.describe()
    assert {"quality", "short_side", "decoder", "kept", "format"} <= set(one.describe())


@pytest.mark.parametrize("name, options", [("r.mp4", {"rotation": 90}), ("a.avi", {})])
@pytest.mark.parametrize("decoder", ["exact", "decord"])
def test_frames_are_made_smaller_one_by_one_to_the_same_pixels(tmp_path, name, options, decoder):
    if decoder == "decord":
        pytest.importorskip("decord")
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_clip(tmp_path / name, 12, codec=codec, size=(128, 80), **options)
    seen = []

    def smaller(frame):
        seen.append(frame.shape)
        return shrink_frame(frame, 40)

    found = decode(path, Sampling(4).indices, decoder, each=smaller)
    full = decode(path, Sampling(4).indices, decoder)
    assert set(seen) == {full.frames.shape[1:]} and len(seen) == 4
    assert min(found.frames.shape[1:3]) == 40
    assert all(map(np.array_equal, found.frames, (shrink_frame(f, 40) for f in full.frames)))
