"""Every kind of work, small, in children that can be disturbed and whose results are compared."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from golden_cases import SHIPPED, Case
from make_clips import write_clip

from vclip_cli.__main__ import run
from vclip_cli.common.long_work import stop_on_sigterm
from vclip_cli.data.dataset import add_dataset
from vclip_cli.results.record import RECORD_FILE, read_record, record_fingerprint

FORKS = multiprocessing.get_context("forkserver")
"""Children come from a server that has imported what they need, so that disturbances hit work, and
that has never computed a gradient, after which torch allows none in a child."""
FORKS.set_forkserver_preload(
    [
        *("vclip_cli.engine.sweep", "vclip_cli.engine.training.train"),
        *("vclip_cli.engine.stores.embed", "vclip_cli.engine.stores.extract"),
        *("accelerate", "open_clip", "pandas", "rich.table", "sklearn.metrics"),
        *("torch.utils.flop_counter", "vclip_cli.models.adapters.layouts.convert", "fault_work"),
    ]
)
MADE_ANEW = {"log.jsonl", "run.json", "lock", "lock-owner.json"}
"""Times and owners stand in these: no part of a result."""
FEW_SHOT = ("-p", "few-shot", "-d", "mine", "--backbone", "toy", "--batch-size", "4")
STEPS = ("--set", "steps=4", "--set", "batch_size=2")
OUT = "OUT"
SMALL_WORK = {
    "extract": ("extract", "mine", "--frames", "4", "--out", OUT),
    "eval": ("eval", *FEW_SHOT, "--no-cache", "--out", OUT),
    "train": (
        *("train", *FEW_SHOT, *STEPS, "-m", "x-clip", "--shots", "4", "--seed", "1"),
        *("--save-every", "1", "--out", OUT),
    ),
    "run": (
        *("run", *FEW_SHOT, *STEPS, "--methods", "clip,x-clip", "--shots", "2", "--seeds", "1"),
        *("--no-cache", "--out", OUT),
    ),
    "embed": ("embed", "mine", "--backbone", "toy", "--batch-size", "4"),
    "convert": (
        *("convert", "released.pth", "--backbone", "parity-vificlip_vl_shallow_ctxinit2"),
        *("--pretrained", "base.safetensors", "--out", f"{OUT}/ours.safetensors"),
    ),
}
"""`embed` writes into the cache, which is its output folder here."""


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the small work works on, in the working folder; gives the folder of the videos."""
    case = Case(SHIPPED, "vificlip_vl_shallow_ctxinit2", folder, monkeypatch)
    base = case.base_weights()
    assert base is not None
    Path(base).rename("base.safetensors")
    torch.save({"model": case.state()}, "released.pth")
    clip = write_clip(folder / "clip.mp4", 12).read_bytes()
    for number in range(16):
        split, name = ("train", "test")[number % 2], ("left", "right")[number // 2 % 2]
        path = folder / "videos" / split / name / f"clip{number:02}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(clip)
    add_dataset("mine", videos=folder / "videos")
    return folder / "videos"


def start(
    arguments: tuple[str, ...] | list[str],
    out: Path,
    *,
    disturb: Callable[[], None] | None = None,
    environment: Mapping[str, str] | None = None,
) -> BaseProcess:
    """The command in a child that has everything imported already.

    OUT in the arguments is the folder; what it prints goes into the file `out` + `.txt`. disturb:
    called in the child before the command; a function that can be sent to it.
    """
    variables = {**os.environ, **(environment or {})}
    if arguments[0] == "embed":
        variables["VCLIP_CACHE"] = str(out)
    own = [argument.replace(OUT, str(out)) for argument in arguments]
    child = FORKS.Process(target=_work, args=(own, out, disturb, variables, Path.cwd()))
    child.start()
    return child


def _work(
    arguments: list[str],
    out: Path,
    disturb: Callable[[], None] | None,
    variables: Mapping[str, str],
    folder: Path,
) -> None:
    code = 99
    try:
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(folder)
        stream = os.open(f"{out}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(stream, 1)
        os.dup2(stream, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", 1) for number in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop_on_sigterm()
        if disturb is not None:
            disturb()
        code = run(arguments)
    finally:
        os._exit(code)


def ended(child: BaseProcess) -> int | None:
    """Wait for a child; gives its exit code, or the negative number of what killed it."""
    child.join()
    return child.exitcode


def printed(out: Path) -> str:
    """What the last child with this folder printed."""
    return Path(f"{out}.txt").read_text(encoding="utf-8")


def content(folder: Path) -> dict[str, object]:
    """Every file's bytes; of records everything but times, the command line and the workers."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == RECORD_FILE:
            record = read_record(path)
            compute = record.compute.model_copy(update={"workers": 0})
            config = {**record.config, "workers": 0}
            changes = {"command": [], "compute": compute, "config": config}
            found[name] = record_fingerprint(record.model_copy(update=changes))
        elif path.is_file() and path.name not in MADE_ANEW and "tensorboard" not in path.parts:
            found[name] = path.read_bytes()
    return found


Act = Callable[[], object]


def at_flush(number: int, act: Act) -> Callable[[], None]:
    """A disturbance: `act` in the place of the child's `number`-th flush of a file to disk."""
    return partial(_disturb_flush, number, act)


def _disturb_flush(number: int, act: Act) -> None:
    flush, seen = os.fsync, []

    def disturbed(descriptor: int) -> None:
        seen.append(1)
        if len(seen) == number:
            act()
        flush(descriptor)

    os.fsync = disturbed


def refuse(number: int) -> Act:
    """An act: the operating system refuses with this error."""
    return partial(_refuse, number)


def _refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def take_away(videos: Path, elsewhere: Path, emptied: bool) -> Act:
    """Move the folder of the videos elsewhere; emptied: leave an empty one in its place."""
    return partial(_take_away, videos, elsewhere, emptied)


def _take_away(videos: Path, elsewhere: Path, emptied: bool) -> None:
    videos.rename(elsewhere)
    if emptied:
        videos.mkdir()


def send(number: int) -> Act:
    """An act: the child gets a signal."""
    return partial(_send, number)


def _send(number: int) -> None:
    os.kill(os.getpid(), number)


def send_to_all(number: int) -> None:
    """An act: the child and all that it started get a signal."""
    os.killpg(os.getpgrp(), number)


def in_own_group(disturb: Callable[[], None]) -> Callable[[], None]:
    """The child leads a group of its own first, so that a signal to all reaches its workers."""
    return partial(_in_own_group, disturb)


def _in_own_group(disturb: Callable[[], None]) -> None:
    os.setpgid(0, 0)
    disturb()


def no_file_larger(size: int) -> Callable[[], None]:
    """A disturbance: what a full disk does to a file that grows beyond a size."""
    return partial(resource.setrlimit, resource.RLIMIT_FSIZE, (size, size))


def at_clip(number: int, act: Act) -> Callable[[], None]:
    """A disturbance: `act` when the child opens its `number`-th video file."""
    return partial(_disturb_clip, number, act)


def _disturb_clip(number: int, act: Act) -> None:
    seen: list[str] = []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(".mp4"):
            seen.append(str(arguments[0]))
            if len(seen) == number:
                act()

    sys.addaudithook(hook)
