"""`vclip run`: a whole protocol, for several methods and seeds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.engine.evaluation.evaluate import Evaluated
    from vclip_cli.engine.sweep import Job

Methods = Annotated[
    str, typer.Option("--methods", help="Methods with commas between, such as clip,vita-clip.")
]
Seeds = Annotated[
    str | None,
    typer.Option("--seeds", help="Seeds with commas between; default: the protocol's."),
]
ShotCounts = Annotated[
    str | None,
    typer.Option("--shots", help="Shots with commas between; default: the protocol's."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="As in vclip train, for every method."),
]


def run(
    methods: Methods,
    protocol: options.Protocol = None,
    dataset: options.Datasets = None,
    seeds: Seeds = None,
    shots: ShotCounts = None,
    settings: Settings = None,
    backbone: options.Backbone = None,
    pretrained: options.Pretrained = None,
    frames_from: options.FramesFrom = "source",
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.BatchSize = 8,
    workers: options.Workers = None,
    video_timeout: options.VideoTimeout = 300.0,
    limit_memory: options.LimitMemory = None,
    gradient_checkpointing: options.GradientCheckpointing = False,
    compiled: options.Compile = False,
    limit: options.Limit = None,
    out: options.Out = None,
    resume: options.Resume = True,
    cache: options.Cache = True,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train and evaluate every method with every seed; what is done is skipped, the rest resumed.

    Example:  vclip run --protocol base-to-novel --dataset toy --methods clip,vita-clip --seeds 1,2
    """
    from vclip_cli.engine.runs.shards import launched_shard
    from vclip_cli.engine.specs import WorkerSpec
    from vclip_cli.engine.sweep import SweepRequest, plan_sweep, run_job, sweep_log

    if protocol is None or not dataset:
        raise UsageError(
            "a protocol and a dataset are needed", hint="--protocol base-to-novel --dataset toy"
        )
    request = SweepRequest(
        protocol=protocol,
        datasets=tuple(dataset),
        methods=_names(methods),
        seeds=_numbers(seeds, "--seeds"),
        shots=_numbers(shots, "--shots"),
        settings=tuple(settings or ()),
        backbone=backbone,
        pretrained=pretrained,
        frames_from=frames_from,
        device=device,
        precision=precision,
        batch_size=batch_size,
        guard=WorkerSpec(workers, video_timeout, limit_memory),
        gradient_checkpointing=gradient_checkpointing,
        compiled=compiled,
        limit=limit,
        out=out,
        resume=resume,
        cache=cache,
        command=("vclip", *sys.argv[1:]),
    )
    jobs = plan_sweep(request)
    if dry_run:
        if launched_shard().prints:
            show_json({"jobs": [job.as_dict() for job in jobs]})
        return
    results = []
    with sweep_log(request, len(jobs)) as log:
        for number, job in enumerate(jobs, start=1):
            say(f"[{number}/{len(jobs)}] {job}")
            results.append(_result(job, run_job(request, job, progress=progress)))
            log.note("job", job=str(job), done=number)
    if not launched_shard().is_main:
        return
    if as_json:
        show_json({"results": results})
        return
    for result in results:
        measured = ", ".join(_measured(test) for test in result["tests"])
        show(f"{result['job']}: {measured}")
    say(f"as a table:  vclip table {request.folder}")


def _result(job: Job, evaluated: list[Evaluated]) -> dict[str, Any]:
    tests = []
    for entry in evaluated:
        name, metric = next(iter(entry.record.metrics.items()))
        counts = entry.record.counts
        tests.append(
            {
                "test": entry.test.name,
                "metric": name,
                "value": metric.value,
                "scored": counts.scored,
                "listed": counts.listed,
                "partial": entry.record.partial,
                "record": str(entry.path),
            }
        )
    return {"job": str(job), **job.as_dict(), "tests": tests}


def _measured(test: dict[str, Any]) -> str:
    whole = test["scored"] == test["listed"]
    counts = "" if whole else f" ({test['scored']:,} of {test['listed']:,} scored)"
    return f"{test['test']} {test['metric']} {test['value']:.1f}{counts}"


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError("no method was named", hint="--methods clip,vita-clip")
    return names


def _numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"{option} {text!r}", expected="whole numbers with commas between")
    return tuple(int(part) for part in parts)
