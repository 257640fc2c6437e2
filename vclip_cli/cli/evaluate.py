"""`vclip eval`: a method on the test sets of a protocol."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from vclip_cli.engine.evaluation.evaluate import Evaluated
    from vclip_cli.engine.evaluation.plan import EvaluationPlan
    from vclip_cli.results.record import Decision

DEFAULT_PROTOCOL = "zero-shot"
_WIDE = 4
"""More metrics than these stand below each other."""

Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="Only this test split of the protocol. May be repeated."),
]
OnError = Annotated[
    str,
    typer.Option(
        "--on-error",
        envvar="VCLIP_ON_ERROR",
        help="A video that cannot be read: skip it, stop, or count-as-wrong.",
    ),
]


def evaluate(
    protocol: options.Protocol = None,
    dataset: options.Datasets = None,
    method: options.Method = None,
    backbone: options.Backbone = None,
    pretrained: options.Pretrained = None,
    checkpoint: options.Checkpoint = None,
    interpolate: options.Interpolate = None,
    label_embeddings: options.LabelEmbeddings = None,
    splits: Splits = None,
    template: options.Templates = None,
    text: options.TextVariant = None,
    frames: options.Frames = None,
    clips: options.Clips = None,
    crops: options.Crops = None,
    decoder: options.Decoder = "exact",
    frames_from: options.FramesFrom = "source",
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.BatchSize = 8,
    workers: options.Workers = None,
    video_timeout: options.VideoTimeout = 300.0,
    limit_memory: options.LimitMemory = None,
    limit: options.Limit = None,
    on_error: OnError = "skip",
    shard: options.Shard = None,
    merge: options.Merge = False,
    allow_overlap: options.Overlap = False,
    out: options.Out = None,
    resume: options.Resume = True,
    cache: options.Cache = True,
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Score a method on all test sets of a protocol; write predictions and a record for each.

    Example:  vclip eval --protocol zero-shot --dataset toy
    """
    from vclip_cli.engine.encoding.model import MethodRequest
    from vclip_cli.engine.encoding.settings import ViewRequest, read_templates
    from vclip_cli.engine.evaluation.evaluate import evaluate as run
    from vclip_cli.engine.evaluation.plan import EvaluationRequest, plan_evaluation
    from vclip_cli.engine.runs.shards import launched_shard, read_shard
    from vclip_cli.engine.specs import WorkerSpec

    if not dataset:
        raise UsageError(
            "no dataset was named", hint="--dataset NAME; see: vclip data list, or try toy"
        )
    if out is not None and len(dataset) > 1:
        raise UsageError("--out takes the run of one dataset", found=f"{len(dataset)} datasets")
    if rate is not None and not dry_run:
        raise UsageError("--rate is for --dry-run")
    if shard is not None and merge:
        raise UsageError("--merge joins what shards have done; it takes no --shard")
    share = read_shard(shard) if shard is not None else launched_shard()
    guard = WorkerSpec(workers, video_timeout, limit_memory)
    evaluated: list[Evaluated] = []
    plans: list[EvaluationPlan] = []
    for name in dataset:
        request = EvaluationRequest(
            protocol=protocol or DEFAULT_PROTOCOL,
            dataset=name,
            method=MethodRequest(method, backbone, pretrained, checkpoint, interpolate=interpolate),
            views=ViewRequest(frames, clips, crops, read_templates(template), text, decoder),
            frames_from=frames_from,
            device=device,
            precision=precision,
            batch_size=batch_size,
            guard=guard,
            limit=limit,
            splits=tuple(splits) if splits else None,
            allow_overlap=allow_overlap,
            out=out,
            resume=resume,
            cache=cache,
            shard=share,
            merge=merge,
            on_error=on_error,
            command=("vclip", *sys.argv[1:]),
            label_embeddings=label_embeddings,
        )
        plan = plan_evaluation(request)
        plans.append(plan)
        if not dry_run:
            evaluated += run(plan, progress=progress)
    if dry_run and share.prints:
        show_json({"plans": [_planned(plan, rate) for plan in plans]})
    elif dry_run:
        return
    elif share.manual:
        show(f"shard {shard} is done; when all are: the same command with --merge for --shard")
    elif not share.is_main:
        return
    elif as_json:
        show_json({"results": [result_document(entry) for entry in evaluated]})
    else:
        show_results(evaluated)


def _planned(plan: EvaluationPlan, rate: float | None) -> dict[str, Any]:
    from vclip_cli.engine.evaluation.evaluate import planned_per_process
    from vclip_cli.engine.runs.shards import Workload

    return {
        "work": Workload(planned_per_process(plan), rate).as_dict(),
        "out": str(plan.folder),
        "run_sha256": plan.sha256,
        "device": str(plan.computing.device),
        **plan.identity,
        "tests": [
            {
                "name": test.name,
                "videos": int(test.rows["video"].nunique()),
                "absent": int((test.rows["path"] == "").sum()),
                "classes": len(test.classes),
                "bytes_of_scores": 4 * len(test.classes) * int(test.rows["video"].nunique()),
            }
            for test in plan.tests
        ],
    }


def result_document(entry: Evaluated) -> dict[str, Any]:
    """One test set's result, as `--json` gives it."""
    record = entry.record
    return {
        "test": entry.test.name,
        "method": record.adapter.name,
        "metrics": {name: metric.model_dump() for name, metric in record.metrics.items()},
        "counts": record.counts.model_dump(),
        "partial": record.partial,
        "record": str(entry.path),
        "predictions": str(entry.path.parent / record.predictions.file)
        if record.predictions
        else None,
        "reused": entry.reused,
    }


def show_results(evaluated: list[Evaluated]) -> None:
    """The table of what was just measured, failures, and where everything lies."""
    from rich.table import Table

    table = Table("test set", "method", "scored / listed", "classes")
    names = list(dict.fromkeys(name for entry in evaluated for name in entry.record.metrics))
    for name in names:
        table.add_column(f"{name} [95 % interval]", justify="right")
    for entry in evaluated:
        counts = entry.record.counts
        cells = [_cell(entry, name) for name in names]
        table.add_row(
            entry.test.name,
            entry.record.adapter.name,
            f"{counts.scored:,} / {counts.listed:,}",
            str(len(entry.record.dataset.classes)),
            *cells,
        )
    show(table if len(names) <= _WIDE else _tall_table(evaluated, names))
    decisions = [entry.record.decision for entry in evaluated]
    for line in dict.fromkeys(_decision(found) for found in decisions if found is not None):
        say(line)
    for entry in evaluated:
        record = entry.record
        if record.without_positives:
            some, more = record.without_positives[:5], len(record.without_positives) - 5
            without = ", ".join(some) + (f" and {more} more" if more > 0 else "")
            say(f"{entry.test.name}: no scored video of {without}: left out of means over classes")
        if record.failures:
            first = record.failures[0]
            warn(
                f"{entry.test.name}: {record.counts.failed:,} of {record.counts.listed:,} listed"
                f" videos could not be scored, such as {first.video!r}: {first.reason}"
            )
        if record.partial:
            warn(f"{entry.test.name}: partial (--limit); tables leave it out unless asked")
        if entry.reused:
            say(f"{entry.test.name}: already there; --no-resume does it again")
    for folder in sorted({entry.path.parent for entry in evaluated}):
        say(f"record and predictions: {shlex.quote(str(folder))}/")


def _tall_table(evaluated: list[Evaluated], names: list[str]) -> Table:
    """One row a metric, one column a test set."""
    from rich.table import Table

    table = Table("metric [95 % interval]")
    for entry in evaluated:
        table.add_column(f"{entry.test.name}\n{entry.record.adapter.name}", justify="right")
    counts = [entry.record.counts for entry in evaluated]
    table.add_row("scored / listed", *(f"{c.scored:,} / {c.listed:,}" for c in counts))
    table.add_row("labels", *(str(len(entry.record.dataset.classes)) for entry in evaluated))
    for name in names:
        table.add_row(name, *(_cell(entry, name) for entry in evaluated))
    return table


def _decision(decision: Decision) -> str:
    kind = {
        "trained": "of the training's own sigmoid",
        "fitted": f"fitted on {decision.validation}",
        "stated": "by a fixed guess, not calibrated",
    }[decision.source]
    chosen = f"; chosen threshold {decision.threshold:.3f}" if decision.threshold else ""
    return f"probabilities {kind}{chosen}; {decision.note}"


def _cell(entry: Evaluated, name: str) -> str:
    metric = entry.record.metrics.get(name)
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.1f}"
    return f"{metric.value:.1f} [{metric.low:.1f}, {metric.high:.1f}]"
