"""`vclip extract`: decode a dataset's clips once and keep their frames."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.engine.stores.estimate import Estimate
    from vclip_cli.engine.stores.extract import Extracted
    from vclip_cli.engine.stores.extract_plan import Checked
    from vclip_cli.video.kept_frames import KeptFrames

DAMAGED = 4
EVERY = "all"

Name = Annotated[str, typer.Argument(metavar="DATASET", help="A registered dataset, or toy.")]
FrameCounts = Annotated[
    str,
    typer.Option(
        "--frames",
        envvar="VCLIP_FRAMES",
        help="Keep the segment midpoints of each of these T, with commas between; all for every"
        " frame.",
    ),
]
ViewClips = Annotated[
    int, typer.Option("--clips", min=1, help="Keep also the frames of so many temporal views.")
]
Jitter = Annotated[
    int | None,
    typer.Option(
        "--segments-jitter",
        metavar="K",
        min=1,
        help="Keep also K candidates in each of the T segments, from which training draws.",
    ),
]
Quality = Annotated[
    int, typer.Option("--quality", min=1, max=100, help="JPEG quality of the kept frames.")
]
Size = Annotated[
    int,
    typer.Option("--size", min=16, help="Short side in pixels; smaller videos are not enlarged."),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify",
        help="Check every byte that is stored and extract again what is damaged; with --dry-run"
        " only check.",
    ),
]


def extract(
    dataset: Name,
    frames: FrameCounts = "8,16,32",
    clips: ViewClips = 1,
    jitter: Jitter = None,
    quality: Quality = 95,
    size: Size = 256,
    decoder: options.Decoder = "exact",
    workers: options.Workers = None,
    video_timeout: options.VideoTimeout = 300.0,
    limit_memory: options.LimitMemory = None,
    limit: options.Limit = None,
    shard: options.Shard = None,
    merge: options.Merge = False,
    out: options.Out = None,
    resume: options.Resume = True,
    verify: Verify = False,
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Decode every clip once; eval, train and run then read it with --frames-from store.

    The same command goes on after an interruption, adds new clips and extracts changed ones again.
    Example:  vclip extract toy --frames 8,16
    """
    from vclip_cli.engine.runs.shards import launched_shard, read_shard
    from vclip_cli.engine.specs import WorkerSpec
    from vclip_cli.engine.stores.estimate import estimate
    from vclip_cli.engine.stores.extract import extract_shard, merge_shards
    from vclip_cli.engine.stores.extract_plan import plan_extract

    request = ExtractRequest(
        dataset=dataset,
        kept=_kept(frames, clips, jitter),
        quality=quality,
        short_side=size,
        decoder=decoder,
        guard=WorkerSpec(workers, video_timeout, limit_memory),
        limit=limit,
        out=out,
        resume=resume,
        verify=verify,
    )
    if verify and not resume:
        raise UsageError("--verify and --no-resume exclude each other")
    if rate is not None and not dry_run:
        raise UsageError("--rate is for --dry-run")
    share = read_shard(shard) if shard is not None else launched_shard()
    plan = plan_extract(request)
    if dry_run:
        if not share.prints:
            return
        estimated = estimate(plan, share, rate, progress=progress)
        if as_json:
            show_json(estimated.as_dict())
        else:
            _show_estimate(estimated)
        if estimated.checked is not None and estimated.checked.damaged:
            raise typer.Exit(DAMAGED)
        return
    if merge and (shard is not None or verify or not resume):
        raise UsageError("--merge joins what shards have done, and nothing else")
    if merge:
        done = merge_shards(plan, progress=progress)
    else:
        finished = extract_shard(plan, share, progress=progress)
        if finished is None:
            if share.manual:
                show(f"shard {shard} is done; when all are: the same command with --merge")
            return
        done = finished
    if as_json:
        show_json(done.as_dict())
    else:
        _show(done)


def _kept(frames: str, clips: int, jitter: int | None) -> KeptFrames:
    from vclip_cli.video.kept_frames import KeptFrames

    if frames.strip() == EVERY:
        if clips > 1 or jitter is not None:
            raise UsageError("--frames all keeps every frame: leave out the other rules")
        return KeptFrames(every=True)
    parts = [part.strip() for part in frames.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--frames {frames!r}", expected="such as 8,16,32, or all")
    counts = tuple(sorted({int(part) for part in parts}))
    return KeptFrames(frames=counts, clips=clips, jitter=jitter)


def _show(done: Extracted) -> None:
    from vclip_cli.engine.loading.frame_source import STORE, default_store

    checked = done.checked
    if checked is not None:
        _show_checked(checked, "extracted again")
    if done.failures:
        video, reason = done.failures[0]
        warn(
            f"{len(done.failures):,} of {done.listed:,} listed videos could not be extracted, such"
            f" as {video!r}: {reason}"
        )
    if done.damaged_sources:
        warn(f"{done.damaged_sources:,} clips show signs of damage in their videos")
    show(
        f"{done.dataset}: {done.stored:,} of {done.listed:,} clips stored, {done.written:,} written"
        f" now ({done.changed:,} changed), {_bytes(done.size)}"
    )
    say(f"frame store: {shlex.quote(str(done.folder))}/")
    own = done.folder.resolve() == default_store(done.dataset).resolve()
    named = STORE if own else shlex.quote(str(done.folder))
    say(f"use it with:  vclip eval --dataset {done.dataset} --frames-from {named}")


def _show_estimate(estimated: Estimate) -> None:
    if estimated.checked is not None:
        _show_checked(estimated.checked, "left as they are")
    show(
        f"{estimated.clips:,} clips to extract: {_bytes(estimated.needed)}"
        f" [{_bytes(estimated.low)}, {_bytes(estimated.high)}] from a sample of"
        f" {estimated.sampled:,}; {_bytes(estimated.there)} there, {_bytes(estimated.free)} free"
    )
    show(str(estimated.work))
    say(f"frame store: {shlex.quote(estimated.folder)}/")
    if estimated.high > estimated.free:
        warn("that may not fit on the disk")


def _show_checked(checked: Checked, fate: str) -> None:
    sound = checked.clips - len(checked.damaged)
    say(f"checked {checked.clips:,} clips: {sound:,} sound")
    if checked.damaged:
        reasons = ", ".join(sorted(set(checked.damaged.values())))
        warn(f"{len(checked.damaged):,} clips damaged, {fate}: {reasons}")
    if checked.dropped_rows:
        warn(f"{checked.dropped_rows:,} damaged rows of the index left out")
    if checked.freed:
        say(f"{_bytes(checked.freed)} of clips that were extracted again given back")


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
