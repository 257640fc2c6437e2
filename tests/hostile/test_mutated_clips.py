"""Clips damaged in hundreds of ways: none hangs or crashes the decoder, or harms a good one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from mutate_clips import CONTAINERS, KINDS, mutants, write_good
from worker_calls import decode_one

from vclip_cli.common.errors import VideoError
from vclip_cli.engine.loading.workers import FailedCall, call_in_workers
from vclip_cli.engine.specs import WorkerSpec
from vclip_cli.video import read_frames

SECONDS = 20


def _decode_all(paths: Sequence[Path], workers: int) -> list[tuple[str, str]]:
    """Each path's outcome."""
    keys = [str(path) for path in paths]
    results = list(call_in_workers(decode_one, 8, keys, WorkerSpec(workers, SECONDS)))
    return [("lost", found.reason) if isinstance(found, FailedCall) else found for found in results]


def _check(folder: Path, count: int, workers: int, seed: int) -> Counter[tuple[str, str]]:
    """Outcomes by container. Good clips lie among them, and must decode as they do alone."""
    good = write_good(folder)
    alone = {name: decode_one(8, str(folder / name)) for name in good}
    assert all(outcome == "decoded" for outcome, _ in alone.values())
    paths: list[Path] = []
    for number, (name, data) in enumerate(mutants(good, count, seed)):
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
        if number % 7 == 0:
            paths.append(folder / list(good)[number // 7 % len(good)])
    outcomes: Counter[tuple[str, str]] = Counter()
    for path, (outcome, detail) in zip(paths, _decode_all(paths, workers), strict=True):
        if path.name in alone:
            assert (outcome, detail) == alone[path.name], path.name
            continue
        assert outcome != "lost", f"{path.name}: {detail}"
        outcomes[path.suffix, outcome] += 1
    assert outcomes.total() == count
    return outcomes


def test_damaged_clips(tmp_path: Path) -> None:
    outcomes = _check(tmp_path, len(CONTAINERS) * len(KINDS), workers=1, seed=1)
    assert sum(number for (_, outcome), number in outcomes.items() if outcome == "decoded") > 5
    assert sum(number for (_, outcome), number in outcomes.items() if outcome == "refused") > 5


@pytest.mark.slow
def test_a_thousand_damaged_clips(tmp_path: Path) -> None:
    outcomes = _check(tmp_path, 1000, workers=2, seed=2)
    print(
        "\n".join(f"{suffix} {outcome}: {n}" for (suffix, outcome), n in sorted(outcomes.items()))
    )


@pytest.mark.parametrize(
    ("openings", "settled"), [(240, 120), pytest.param(20_000, 1_000, marks=pytest.mark.slow)]
)
def test_memory_of_many_clip_openings_stays_flat(
    openings: int, settled: int, tmp_path: Path
) -> None:
    """Damaged clips among them."""
    psutil = pytest.importorskip("psutil")
    good = write_good(tmp_path)
    paths = [tmp_path / name for name in good] * 4
    for name, data in mutants(good, 20, 3):
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    process = psutil.Process()
    after: list[int] = []
    for number in range(openings):
        try:
            read_frames(paths[number % len(paths)], 4)
        except VideoError:
            continue
        finally:
            after.append(process.memory_info().rss)
    print(f"{after[settled] / 1e6:.1f} MB after {settled:,}, {after[-1] / 1e6:.1f} MB at the end")
    assert after[-1] < after[settled] * 1.05
