"""`vclip train`: train a method on the training split of a protocol."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn

if TYPE_CHECKING:
    from vclip_cli.engine.training.outcome import TrainingRun


@options.takes("train")
def train(
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Train a method by its published recipe; write a checkpoint of what trained.

    Example:  vclip train --protocol few-shot --dataset toy --shots 4 --seed 1 --method vita-clip
    """
    from vclip_cli.engine.runs.shards import launched_shard
    from vclip_cli.library import functions as library

    asked = options.given(settings)
    if dry_run:
        document = library.dry_run("train", asked.pop("dataset", None), **asked)
        if launched_shard().prints:
            show_json(document)
        return
    run = library.train(progress=progress, **asked)
    if not launched_shard().is_main:
        return
    if as_json:
        show_json(run.as_dict())
    else:
        _show(run)


def _show(run: TrainingRun) -> None:
    if run.failures:
        video, (_, reason) = next(iter(run.failures.items()))
        warn(f"{len(run.failures):,} training videos failed, such as {video!r}: {reason}")
    if run.checkpoint.suffix != ".safetensors":
        say(f"stopped after step {run.steps}; the same command continues from there")
        return
    if run.reused:
        say("already trained; --no-resume does it again")
    show(f"checkpoint: {run.checkpoint}")
    say(
        f"loss {run.loss:.4f} after step {run.steps:,}; test it with:\n"
        f"  vclip eval --protocol {run.plan.protocol.name} --dataset {run.plan.dataset.config.name}"
        f" --checkpoint {shlex.quote(str(run.checkpoint))}"
    )
