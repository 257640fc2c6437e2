"""`vclip extract`: decode a dataset's clips once and keep their frames."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.engine.stores.extract import Extracted
    from vclip_cli.engine.stores.extract_plan import Checked, Estimate

DAMAGED = 4


@options.takes("extract", without=("dataset",))
def extract(
    dataset: options.DatasetName,
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Decode every video once; eval, train and run then read frames with --frames-from store.

    The same command continues after an interruption, adds new videos and extracts changed ones
    again.

    Example:  vclip extract toy --frames 8,16
    """
    from vclip_cli.engine.runs.shards import own_shard
    from vclip_cli.library import functions as library

    if rate is not None and not dry_run:
        raise UsageError("--rate is for --dry-run")
    shard, asked = own_shard(settings["shard"]), options.given(settings)
    if dry_run:
        estimated = library.estimate(dataset, rate=rate, progress=progress, **asked)
        if not shard.prints:
            return
        if as_json:
            show_json(estimated.as_dict())
        else:
            _show_estimate(estimated)
        if estimated.checked is not None and estimated.checked.damaged:
            raise typer.Exit(DAMAGED)
        return
    done = library.extract(dataset, progress=progress, **asked)
    if done is None and shard.manual:
        named = settings["shard"]
        show(f"shard {named} is done; when all are: the same command with --merge")
    elif done is not None and as_json:
        show_json(done.as_dict())
    elif done is not None:
        _show(done)


def _show(done: Extracted) -> None:
    from vclip_cli.engine.loading.datasets import STORE, default_store

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
