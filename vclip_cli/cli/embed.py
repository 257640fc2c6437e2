"""`vclip embed`: encode a dataset's videos once, for every later run."""

from __future__ import annotations

from typing import Any

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError


@options.takes("embed", without=("dataset",))
def embed(
    dataset: options.DatasetName,
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Store the embeddings of a dataset's videos, for every run with the same video encoder.

    --protocol sets the frames and views. All shards add to one store and need no merge.

    Example:  vclip embed toy --protocol few-shot
    """
    from vclip_cli.engine.runs.shards import own_shard
    from vclip_cli.library import functions as library

    if rate is not None and not dry_run:
        raise UsageError("--rate is for --dry-run")
    shard, asked = own_shard(settings["shard"]), options.given(settings)
    if dry_run:
        document = library.dry_run("embed", dataset, rate=rate, **asked)
        if shard.prints:
            show_json(document)
        return
    done = library.embed(dataset, progress=progress, **asked)
    if not shard.prints:
        return
    if as_json:
        show_json(done.as_dict())
    else:
        show(f"embeddings: {done.folder}")
        say(f"{done.encoded:,} videos encoded, {done.reused:,} were there, key {done.key}")
    if done.failures:
        first = done.failures[0]
        warn(
            f"{len(done.failures):,} of {done.videos:,} videos could not be read, such as"
            f" {first.video!r}: {first.reason}"
        )
