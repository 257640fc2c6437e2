"""`vclip eval`: a method on the test sets of a protocol."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table

    from vclip_cli.engine.evaluation.evaluate import Result
    from vclip_cli.results.record import Decision

_WIDE = 4
"""More metrics than these stand below each other."""


@options.takes("eval")
def evaluate(
    dry_run: options.DryRun = False,
    rate: options.Rate = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Score a method on all test sets of a protocol; write predictions and a record for each.

    Example:  vclip eval --protocol zero-shot --dataset toy
    """
    from vclip_cli.engine.runs.shards import own_shard
    from vclip_cli.library import functions as library

    if rate is not None and not dry_run:
        raise UsageError("--rate is for --dry-run")
    dataset, shard = settings.pop("dataset"), own_shard(settings["shard"])
    asked = options.given(settings)
    if dry_run:
        document = library.dry_run("eval", dataset, rate=rate, **asked)
        if shard.prints:
            show_json(document)
        return
    results = library.evaluate(None, dataset, progress=progress, **asked)
    if shard.manual:
        named = settings["shard"]
        show(f"shard {named} is done; when all are: the same command with --merge for --shard")
    elif not shard.is_main:
        return
    elif as_json:
        show_json({"results": [result_document(entry) for entry in results]})
    else:
        show_results(results)


def result_document(entry: Result) -> dict[str, Any]:
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


def show_results(evaluated: list[Result]) -> None:
    """Print the results, the failures, and the folder of the files."""
    from rich.table import Table

    from vclip_cli.results.measure import described

    table = Table("test set", "method", "scored / listed", "classes")
    names = list(dict.fromkeys(name for entry in evaluated for name in entry.record.metrics))
    for name in names:
        table.add_column(f"{described(name).title} [95 % interval]", justify="right")
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


def _tall_table(evaluated: list[Result], names: list[str]) -> Table:
    """One row per metric, one column per test set."""
    from rich.table import Table

    from vclip_cli.results.measure import described

    table = Table("metric [95 % interval]")
    for entry in evaluated:
        table.add_column(f"{entry.test.name}\n{entry.record.adapter.name}", justify="right")
    counts = [entry.record.counts for entry in evaluated]
    table.add_row("scored / listed", *(f"{c.scored:,} / {c.listed:,}" for c in counts))
    table.add_row("labels", *(str(len(entry.record.dataset.classes)) for entry in evaluated))
    for name in names:
        table.add_row(described(name).title, *(_cell(entry, name) for entry in evaluated))
    return table


def _decision(decision: Decision) -> str:
    kind = {
        "trained": "of the training's own sigmoid",
        "fitted": f"fitted on {decision.validation}",
        "stated": "by a fixed guess, not calibrated",
    }[decision.source]
    chosen = f"; chosen threshold {decision.threshold:.3f}" if decision.threshold else ""
    return f"probabilities {kind}{chosen}; {decision.note}"


def _cell(entry: Result, name: str) -> str:
    metric = entry.record.metrics.get(name)
    if metric is None:
        return ""
    if metric.low is None or metric.high is None:
        return f"{metric.value:.1f}"
    return f"{metric.value:.1f} [{metric.low:.1f}, {metric.high:.1f}]"
