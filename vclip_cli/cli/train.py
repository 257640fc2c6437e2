"""`vclip train`: train a method on the training split of a protocol."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.engine.training.outcome import TrainingRun
    from vclip_cli.engine.training.plan import TrainingPlan

Recipe = Annotated[
    str | None,
    typer.Option("--recipe", help="A recipe of the protocol by name; default: the method's own."),
]
ListFile = Annotated[
    Path | None,
    typer.Option(
        "--list",
        metavar="SPLIT.csv",
        help="Train on this split file, such as a published list: vclip split --from-list.",
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a value of the recipe or an option of the method. May be repeated.",
    ),
]
ExtraLabels = Annotated[
    Path | None,
    typer.Option(
        "--extra-labels",
        metavar="FILE.csv",
        help="More labels of training videos, one a row: video,label. For several labels a video.",
    ),
]
SelectOn = Annotated[
    str | None,
    typer.Option(
        "--select-on",
        metavar="SPLIT",
        help="Keep the epoch that is best on this split, which must not be tested on.",
    ),
]
Flip = Annotated[
    bool | None,
    typer.Option(
        "--flip/--no-flip",
        help="The recipe's flips; off by default where class texts speak of left and right.",
    ),
]
SaveEvery = Annotated[
    int,
    typer.Option(
        "--save-every",
        min=1,
        help="Steps between the states that an interrupted run goes on from.",
    ),
]
StopAfter = Annotated[
    int | None,
    typer.Option(
        "--stop-after",
        min=1,
        help="Leave after this many steps in all; the same command without it goes on.",
    ),
]
Start = Annotated[
    Path | None,
    typer.Option(
        "--start-from",
        help="Begin with the weights of this checkpoint (vl-prompt: of a vifi-clip).",
    ),
]


def train(
    protocol: options.Protocol = None,
    dataset: options.Dataset = None,
    method: options.Method = None,
    shots: options.Shots = None,
    seed: options.Seed = None,
    listed: ListFile = None,
    backbone: options.Backbone = None,
    pretrained: options.Pretrained = None,
    start_from: Start = None,
    recipe: Recipe = None,
    settings: Settings = None,
    select_on: SelectOn = None,
    flip: Flip = None,
    gradient_checkpointing: options.GradientCheckpointing = False,
    compiled: options.Compile = False,
    save_every: SaveEvery = 50,
    stop_after: StopAfter = None,
    frames: options.Frames = None,
    decoder: options.Decoder = "exact",
    frames_from: options.FramesFrom = "source",
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    batch_size: options.BatchSize = 8,
    workers: options.Workers = None,
    video_timeout: options.VideoTimeout = 300.0,
    limit_memory: options.LimitMemory = None,
    limit: options.Limit = None,
    allow_overlap: options.Overlap = False,
    extra_labels: ExtraLabels = None,
    out: options.Out = None,
    resume: options.Resume = True,
    cache: options.Cache = True,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Train a method by its published recipe; write a checkpoint of what trained.

    Example:  vclip train --protocol few-shot --dataset toy --shots 4 --seed 1 --method vita-clip
    """
    from vclip_cli.engine.encoding.model import MethodRequest
    from vclip_cli.engine.runs.shards import launched_shard
    from vclip_cli.engine.specs import WorkerSpec
    from vclip_cli.engine.training.bridge import bridge_of, with_bridge
    from vclip_cli.engine.training.plan import TrainingRequest, plan_run
    from vclip_cli.engine.training.train import train as run

    for value, name, example in (
        (protocol, "protocol", "--protocol few-shot"),
        (dataset, "dataset", "--dataset toy"),
        (method, "method", "--method vita-clip"),
    ):
        if value is None:
            raise UsageError(f"no {name} was named", hint=example)
    request = TrainingRequest(
        protocol=str(protocol),
        dataset=str(dataset),
        method=MethodRequest(method, backbone, pretrained),
        start_from=start_from,
        recipe=recipe,
        settings=tuple(settings or ()),
        shots=shots,
        seed=seed,
        listed=listed,
        frames=frames,
        select_on=select_on,
        flip=flip,
        device=device,
        precision=precision,
        batch_size=batch_size,
        guard=WorkerSpec(workers, video_timeout, limit_memory),
        decoder=decoder,
        frames_from=frames_from,
        limit=limit,
        gradient_checkpointing=gradient_checkpointing,
        compiled=compiled,
        allow_overlap=allow_overlap,
        save_every=save_every,
        stop_after=stop_after,
        out=out,
        resume=resume,
        cache=cache,
        extra_labels=extra_labels,
    )
    bridge = bridge_of(request)
    if dry_run:
        if launched_shard().prints:
            show_json({**_planned(plan_run(request)), "bridge": bridge})
        return
    if bridge is not None:
        say(f"first stage: {bridge}, whose weights {method} begins with")
    plan = plan_run(with_bridge(request, progress=progress))
    say(_headline(plan))
    trained = run(plan, progress=progress)
    if not launched_shard().is_main:
        return
    if as_json:
        show_json(training_document(plan, trained))
    else:
        _show(plan, trained)


def _planned(plan: TrainingPlan) -> dict[str, Any]:
    from vclip_cli.engine.training.updates import steps_of

    listed = plan.split.rows["video"].nunique()
    videos = min(listed, plan.request.limit or listed)
    fits = plan.method.adapter.fits  # how many steps it takes is the method's own affair
    steps, an_epoch = (None, None) if fits else steps_of(videos, plan.recipe)
    return {
        **plan.identity,
        "out": str(plan.folder),
        "run_sha256": plan.sha256,
        "videos": videos,
        "classes": len(plan.classes),
        "steps": steps,
        "steps_an_epoch": an_epoch,
        "recipe_name": plan.recipe_name,
        "overrides": {key: list(values) for key, values in plan.overrides.items()},
    }


def _headline(plan: TrainingPlan) -> str:
    planned = _planned(plan)
    changes = "".join(
        f"\n  † {key}: {used!r} instead of {published!r}"
        for key, (published, used) in plan.overrides.items()
    )
    return (
        f"{plan.method.adapter.name} on {planned['videos']:,} videos of {planned['classes']}"
        f" classes: {_length(planned['steps'])}, recipe {plan.recipe_name!r}, seed {plan.seed}"
        f"{changes}"
    )


def _length(steps: int | None) -> str:
    return "fitted on stored embeddings" if steps is None else f"{steps:,} steps"


def training_document(plan: TrainingPlan, trained: TrainingRun) -> dict[str, Any]:
    """A finished training run, as `--json` gives it."""
    return {
        "method": plan.method.adapter.name,
        "checkpoint": str(trained.checkpoint),
        "steps": trained.steps,
        "loss": trained.loss,
        "selected": trained.selected,
        "failures": trained.failures,
        "seed": plan.seed,
        "split_sha256": plan.split.sha256,
        "reused": trained.reused,
    }


def _show(plan: TrainingPlan, trained: TrainingRun) -> None:
    if trained.failures:
        video, (_, reason) = next(iter(trained.failures.items()))
        warn(f"{len(trained.failures):,} training videos failed, such as {video!r}: {reason}")
    if trained.checkpoint.suffix != ".safetensors":
        say(f"stopped after step {trained.steps}; the same command goes on from there")
        return
    if trained.reused:
        say("already trained; --no-resume does it again")
    show(f"checkpoint: {trained.checkpoint}")
    say(
        f"loss {trained.loss:.4f} after {trained.steps:,} steps; test it with:\n"
        f"  vclip eval --protocol {plan.protocol.name} --dataset {plan.request.dataset}"
        f" --checkpoint {shlex.quote(str(trained.checkpoint))}"
    )
