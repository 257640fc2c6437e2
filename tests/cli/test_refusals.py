"""A full disk, a folder that turns read-only, videos that go away: one clear error, then as before.

Each kind of work is refused in each way; afterwards nothing half-written is taken for whole, and
the same command ends with the bytes of an undisturbed run. Every day one of each; slow: all.
"""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_work import (
    SMALL_WORK,
    at_clip,
    at_flush,
    content,
    ended,
    no_file_larger,
    prepare,
    printed,
    refuse,
    start,
    take_away,
)

STORAGE = 4
WORDS = {"full": "no space left to write", "small": "no space left", "read-only": "cannot write"}
READS = [work for work in SMALL_WORK if work != "convert"]


def _clear(out: Path, words: str) -> None:
    text = printed(out)
    assert words in text, text
    assert "Traceback" not in text and "fault of vclip" not in text
    assert text.count("error:") == 1


def _disturbances(fault: str, number: int, largest: int) -> Callable[[], None]:
    if fault == "small":
        return no_file_larger(max(largest * number // 8, 4096))
    return at_flush(number, refuse(errno.ENOSPC if fault == "full" else errno.EROFS))


def _refused(work: str, fault: str, numbers: range, folder: Path) -> int:
    """Let the disk refuse at each of these moments; gives how many there were."""
    arguments, whole = SMALL_WORK[work], folder / "whole"
    assert ended(start(arguments, whole)) == 0, printed(whole)
    wanted = content(whole)
    largest = max(len(entry) for entry in wanted.values() if isinstance(entry, bytes))
    refused = 0
    for number in numbers:
        out = folder / f"{fault}{number}"
        end = ended(start(arguments, out, disturb=_disturbances(fault, number, largest)))
        if end == 0:
            break  # there are no more such moments
        assert end == STORAGE, printed(out)
        _clear(out, WORDS[fault])
        refused += 1
        assert ended(start(arguments, out)) == 0, printed(out)
        assert content(out) == wanted, f"{fault} {number}: another result"
    return refused


@pytest.mark.slow
@pytest.mark.parametrize("fault", WORDS)
@pytest.mark.parametrize("work", SMALL_WORK)
def test_refused_at_any_moment(
    work: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    most = 8 if fault == "small" else 1000
    count = _refused(work, fault, range(1, most), tmp_path)
    print(f"{work}, {fault}: {count} refusals")
    assert count


@pytest.mark.parametrize(
    ("work", "fault", "number"),
    [
        ("extract", "read-only", 2),
        ("eval", "full", 2),
        ("train", "small", 4),
        ("convert", "small", 4),
    ],
)
def test_refused_once(
    work: str, fault: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    assert _refused(work, fault, range(number, number + 1), tmp_path) == 1


@pytest.mark.parametrize("work", [w for w in SMALL_WORK if w != "embed"])
def test_a_folder_that_cannot_be_made(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path, monkeypatch)
    (tmp_path / "file").write_text("no folder")
    out = tmp_path / "log"
    arguments = [part.replace("OUT", str(tmp_path / "file" / "out")) for part in SMALL_WORK[work]]
    assert ended(start(arguments, out)) == 2, printed(out)
    _clear(out, "cannot be written")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no such device here")
def test_a_result_that_cannot_be_printed() -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "vclip_cli", "protocols", "--json"]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert ran.returncode == STORAGE, ran.stderr
    assert "no space left to write" in ran.stderr and "standard output" in ran.stderr


def _gone(work: str, number: int, emptied: bool, folder: Path, videos: Path) -> None:
    """Take the videos away when the child opens its `number`-th one."""
    arguments, out = SMALL_WORK[work], folder / "out"
    assert ended(start(arguments, folder / "whole")) == 0, printed(folder / "whole")
    wanted = content(folder / "whole")
    take = take_away(videos, folder / "elsewhere", emptied)
    assert ended(start(arguments, out, disturb=at_clip(number, take))) == STORAGE, printed(out)
    _clear(out, "the folder of the videos has gone")
    finished = {"record.json", "predictions.parquet", "checkpoint.safetensors"}
    assert not finished & {Path(name).name for name in content(out) if "clip" not in name}
    assert ended(start(arguments, out)) == STORAGE, printed(out)  # still gone
    if emptied:
        videos.rmdir()
    (folder / "elsewhere").rename(videos)
    assert ended(start(arguments, out)) == 0, printed(out)
    assert content(out) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("emptied", [False, True], ids=["removed", "unmounted"])
@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("work", READS)
def test_the_videos_go_away(
    work: str, number: int, emptied: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _gone(work, number, emptied, tmp_path, prepare(tmp_path, monkeypatch))


@pytest.mark.parametrize("work", ["eval", "extract"])
def test_the_videos_go_away_once(
    work: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _gone(work, 5, work == "eval", tmp_path, prepare(tmp_path, monkeypatch))
