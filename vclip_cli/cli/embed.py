"""`vclip embed`: encode a dataset's videos once, whatever is asked of them later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import DataError, UsageError

if TYPE_CHECKING:
    from vclip_cli.engine.stores.embed import Embedded, EmbedPlan

Name = Annotated[str, typer.Argument(help="A registered dataset, or toy.", metavar="DATASET")]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="Only the videos of this official split. May be repeated."),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard", help="Do the i-th of n shares, such as 1/3. Into one store: none is merged."
    ),
]
Protocol = Annotated[
    str | None,
    typer.Option(
        "--protocol", "-p", help="Take frames and views as this protocol does for the method."
    ),
]


def embed(
    dataset: Name,
    method: options.Method = None,
    backbone: options.Backbone = None,
    pretrained: options.Pretrained = None,
    checkpoint: options.Checkpoint = None,
    protocol: Protocol = None,
    splits: Splits = None,
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
    shard: Shard = None,
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Store the embeddings of a dataset's videos, for every run whose image side is the same.

    Example:  vclip embed toy --protocol few-shot
    """
    from vclip_cli.engine.encoding.model import MethodRequest
    from vclip_cli.engine.encoding.settings import ViewRequest
    from vclip_cli.engine.runs.shards import launched_shard, read_shard
    from vclip_cli.engine.specs import WorkerSpec
    from vclip_cli.engine.stores.embed import EmbedRequest, plan_embedding
    from vclip_cli.engine.stores.embed import embed as run

    if rate is not None and not dry_run:
        raise UsageError("--rate is for --dry-run")
    share = read_shard(shard) if shard is not None else launched_shard()
    plan = plan_embedding(
        EmbedRequest(
            dataset=dataset,
            method=MethodRequest(method, backbone, pretrained, checkpoint),
            views=ViewRequest(frames, clips, crops, decoder=decoder),
            protocol=protocol,
            frames_from=frames_from,
            splits=tuple(splits) if splits else None,
            device=device,
            precision=precision,
            batch_size=batch_size,
            guard=WorkerSpec(workers, video_timeout, limit_memory),
            limit=limit,
            shard=share,
        )
    )
    if dry_run:
        if share.prints:
            show_json(_planned(plan, rate))
        return
    done = run(plan, progress=progress)
    if not share.prints:
        return
    if as_json:
        show_json(_document(plan, done))
    else:
        show(f"embeddings: {plan.store.folder}")
        say(f"{done.encoded:,} videos encoded, {done.reused:,} were there, key {plan.store.key}")
    if done.failures:
        first = done.failures[0]
        warn(
            f"{len(done.failures):,} of {len(plan.items):,} videos could not be read, such as"
            f" {first.video!r}: {first.reason}"
        )
    if plan.items and len(done.failures) == len(plan.items):
        raise DataError("no video of the dataset can be read", hint=f"vclip data check {dataset}")


def _planned(plan: EmbedPlan, rate: float | None) -> dict[str, Any]:
    from vclip_cli.engine.runs.shards import Workload
    from vclip_cli.engine.stores.embed import bytes_a_video, left_per_process

    left, each = left_per_process(plan), bytes_a_video(plan)
    there = len(plan.items) - sum(left)
    return {
        "folder": str(plan.store.folder),
        "key": plan.store.key,
        **plan.store.description,
        "videos": len(plan.items),
        "stored": there,
        "bytes_a_video": each,
        "bytes_to_add": each * sum(left),
        "work": Workload(left, rate).as_dict(),
    }


def _document(plan: EmbedPlan, done: Embedded) -> dict[str, Any]:
    return {
        "folder": str(plan.store.folder),
        "key": plan.store.key,
        "videos": len(plan.items),
        "encoded": done.encoded,
        "reused": done.reused,
        "failures": [vars(failure) for failure in done.failures],
    }
