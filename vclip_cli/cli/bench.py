"""`vclip bench`: how fast videos are read and encoded on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import printable, progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.bench.run import Measured
    from vclip_cli.bench.timing import Part
    from vclip_cli.bench.training import MeasuredStep
    from vclip_cli.engine.requests import Request

Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="DATASET|VIDEO|FOLDER", help="What to measure. Default toy."),
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, help="Rounds; medians are shown.")]
Store = Annotated[
    Path | None,
    typer.Option("--store", help="A frame store. Default: the dataset's own, if there is one."),
]
Training = Annotated[
    str | None,
    typer.Option(
        "--training",
        metavar="METHOD,…",
        help="Measure time and memory of a training step of these methods instead.",
    ),
]


@options.takes("bench", defaults={"workers": 0, "batch_size": None, "limit": 8})
def bench(
    sources: Sources = None,
    store: Store = None,
    training: Training = None,
    rounds: Rounds = 3,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Measure reading, preprocessing, transfer, encoder and the whole on your own videos.

    REF is the reading of the published pipelines: decord on one thread, frames resized by OpenCV.
    Each video is read by REF and by the other readers in turn. Weights are random unless
    --pretrained names some: they have no effect on the speed.

    Example:  vclip bench hmdb51 --frames 16 --limit 20
    """
    from vclip_cli.engine.requests import Request

    default = {"batch_size": 8 if training is None else 2}
    request = Request.of("bench", default | options.given(settings))
    if training is not None:
        if sources or store or request.model.method or request.model.checkpoint:
            raise UsageError(
                "--training measures made-up videos: it takes no videos, store, method or"
                " checkpoint"
            )
        names = [name.strip() for name in training.split(",") if name.strip()]
        _bench_training(names, request, rounds, as_json)
        return
    if request.compute.gradient_checkpointing or request.compute.compile:
        raise UsageError("--gradient-checkpointing and --compile are measured with --training")
    from vclip_cli.bench.run import bench as measure

    measured = measure(sources or (), request, store=store, rounds=rounds, progress=progress)
    if as_json:
        show_json(measured.as_dict())
    else:
        _show(measured)
    for failure in measured.left_out:
        warn(f"left out: {failure.video}: {failure.reason}")


def _show(measured: Measured) -> None:
    from rich.table import Table

    facts = measured.facts
    title = (
        f"{facts['backbone']}, {facts['method']}, {facts['frames']} frames, {facts['precision']},"
        f" {facts['device']}, {facts['threads']} threads; {len(measured.videos)} videos,"
        f" medians of {facts['rounds']} rounds"
    )
    table = Table("part", title=title, title_justify="left")
    for name in ("videos/s", "ms per video", "over REF", "… by CPU time", "share", "remark"):
        table.add_column(name, justify="left" if name == "remark" else "right")
    shares = measured.shares()
    for part in measured.parts:
        if part.name == "matrix product":
            continue
        ratios = part.over(measured.reference)
        share = shares.get(part.name)
        seconds = part.seconds_per_video
        comparable = ratios is not None and part.name.startswith(("decode", "read"))
        table.add_row(
            part.name,
            f"{1 / seconds:,.1f}" if seconds else "",
            f"{seconds * 1000:,.1f}" if seconds else "",
            f"{ratios[0]:.2f} ×" if comparable and ratios else "",
            f"{ratios[1]:.2f} ×" if comparable and ratios else "",
            f"{share:.0%}" if share else "",
            printable(_remark(measured, part)),
        )
    show(table)
    say(f"slowest stage: {_limit(measured, store=False)}")
    if measured.has_store:
        say(f"slowest stage from the store: {_limit(measured, store=True)}")
    if measured.reference is None:
        say("REF was not measured: decord is not installed here")


def _limit(measured: Measured, *, store: bool) -> str:
    name = measured.limits(store=store)
    if not measured.workers:
        return f"{name}, {measured.shares(store=store)[name]:.0%} of a video's time"
    seconds = measured.part(name).seconds_per_video
    assert seconds is not None  # a stage without a time is never the slowest
    return f"{name}: no more than {1 / seconds:,.1f} videos/s"


def _remark(measured: Measured, part: Part) -> str:
    if part.name != "encoder" or part.gigaflops is None:
        return part.remark
    product = measured.part("matrix product").gigaflops
    assert product is not None
    return f"{part.gigaflops:,.0f} GFLOP/s, {part.gigaflops / product:.0%} of a matrix product's"


def _bench_training(methods: list[str], request: Request, rounds: int, as_json: bool) -> None:
    from vclip_cli.bench.training import bench_training, facts
    from vclip_cli.models.registry import find_method

    if not methods:
        raise UsageError("--training names no method", hint="see: vclip methods")
    for method in methods:
        find_method(method)
    steps = bench_training(methods, request, rounds=rounds, progress=progress)
    common = facts(request)
    if as_json:
        show_json({**common, "steps": [step.as_dict() for step in steps]})
    else:
        _show_steps(steps, common)


def _show_steps(steps: list[MeasuredStep], common: dict[str, Any]) -> None:
    from rich.table import Table

    title = (
        f"one training step, {common['batch_size']} videos, {common['classes']} classes,"
        f" {common['precision']}, {common['device']}, {common['threads']} threads"
        + (", gradient checkpointing" if common["gradient_checkpointing"] else "")
        + (", compiled" if common["compiled"] else "")
    )
    table = Table("method", title=title, title_justify="left")
    for name in ("trained", "seconds", "peak memory", "before the step"):
        table.add_column(name, justify="right")
    for step in steps:
        table.add_row(
            step.method,
            f"{step.trained:,}",
            f"{step.seconds:.3f}",
            _megabytes(step.peak_mb),
            _megabytes(step.resting_mb),
        )
    show(table)


def _megabytes(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f} MB"
