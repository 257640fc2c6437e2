"""`vclip run`: a whole protocol, for several methods and seeds."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json

if TYPE_CHECKING:
    from vclip_cli.engine.evaluation.evaluate import Result
    from vclip_cli.engine.sweep import Job


@options.takes("run")
def run(
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Train and evaluate every method with every seed; skip finished jobs, resume the rest.

    Example:  vclip run --protocol base-to-novel --dataset toy --methods clip,vita-clip --seeds 1,2
    """
    from vclip_cli.engine.runs.shards import launched_shard
    from vclip_cli.library import functions as library

    asked = options.given(settings)
    if dry_run:
        document = library.dry_run("run", asked.pop("dataset", None), **asked)
        if launched_shard().prints:
            show_json(document)
        return
    results = library.sweep(progress=progress, **asked)
    if not launched_shard().is_main:
        return
    rows = [_document(job, tests) for job, tests in results]
    if as_json:
        show_json({"results": rows})
        return
    for row in rows:
        show(f"{row['job']}: {', '.join(_measured(test) for test in row['tests'])}")
    folders = [tests[0].path.parents[3] for _, tests in results if tests]
    say(f"as a table:  vclip table {shlex.quote(str(folders[0]))}")


def _document(job: Job, results: list[Result]) -> dict[str, Any]:
    tests = []
    for entry in results:
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
    return {"job": str(job), **asdict(job), "tests": tests}


def _measured(test: dict[str, Any]) -> str:
    whole = test["scored"] == test["listed"]
    counts = "" if whole else f" ({test['scored']:,} of {test['listed']:,} scored)"
    return f"{test['test']} {test['metric']} {test['value']:.1f}{counts}"
