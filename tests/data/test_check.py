from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from make_datasets import write_videos

from vclip_cli.data.check import OtherFolder, check_dataset
from vclip_cli.data.dataset import add_dataset, load_dataset


def probe(paths: Sequence[Path]) -> Iterator[str | None]:
    for path in paths:
        yield "no frame can be decoded" if b"broken" in path.read_bytes() else None


def test_every_kind_of_damage_is_found():
    root = write_videos(Path("v"), ["pour/a.mp4", "kick/b.mp4", "pour/extra.mp4", "pour/w.mp4"])
    (root / "pour" / "empty.mp4").write_bytes(b"")
    (root / "pour" / "broken.mp4").write_bytes(b"broken")
    (root / "kick" / "twin.mp4").write_bytes((root / "pour" / "a.mp4").read_bytes())
    Path("ann").mkdir()
    train = ["a.mp4 pour", "b.mp4 kick", "empty.mp4 pour", "broken.mp4 pour", "gone.mp4 kick"]
    Path("ann/train.txt").write_text("\n".join(train), encoding="utf-8")
    Path("ann/test.txt").write_text("twin.mp4 kick\nw.mp4 kick\n", encoding="utf-8")
    report = check_dataset(add_dataset("mine", videos=root, annotations=Path("ann")), probe)
    assert report.absent == ("gone",)
    assert report.unlisted == ("pour/extra.mp4",)
    assert report.empty == ("pour/empty.mp4",)
    assert report.unreadable == {"pour/broken.mp4": "no frame can be decoded"}
    assert report.duplicates == (("pour/a.mp4", "kick/twin.mp4"),)
    assert report.duplicates_across_splits == report.duplicates
    assert report.mislabelled == {"pour/w.mp4": OtherFolder("kick", "pour")}
    assert (report.splits["train"].listed, report.splits["train"].present) == (5, 4)
    assert not report.sound
    assert report.as_dict()["duplicates_across_splits"] == (("pour/a.mp4", "kick/twin.mp4"),)


def test_a_sound_dataset_is_sound_and_progress_counts_every_file():
    import contextlib

    done = []

    @contextlib.contextmanager
    def progress(description, total, already=0):
        yield lambda count: done.append(count)

    root = write_videos(Path("v"), ["pour/a.mp4", "kick/b.mp4"])
    report = check_dataset(add_dataset("mine", videos=root), probe, progress=progress)
    assert report.sound
    assert sum(done) == 2


def test_lists_alone_can_be_checked():
    Path("list.txt").write_text("a.mp4 pour\n", encoding="utf-8")
    add_dataset("mine", annotations=Path("list.txt"))
    report = check_dataset(load_dataset("mine"), probe)
    assert (report.videos, report.absent) == (1, ())
