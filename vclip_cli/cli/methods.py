"""`vclip methods`: what can be named with --method."""

from __future__ import annotations

from typing import Annotated

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import show, show_json

Count = Annotated[
    bool,
    typer.Option("--count", help="Count what each trains on ViT-B/16, at the papers' settings."),
]


def methods(
    count: Count = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the methods: the published ones, and those of your own adapters/ folders."""
    from rich.table import Table

    from vclip_cli.models.registry import find_method, list_methods

    rows = []
    for name, path in list_methods().items():
        method = find_method(name)
        config = method.Config().as_dict()
        rows.append(
            {
                "name": name,
                "summary": method.summary,
                "paper": method.paper,
                "cacheable": method.cacheable,
                "config": config,
                "file": str(path),
            }
        )
    counts = {}
    if count:
        from vclip_cli.engine.encoding.parameter_counts import count_trainable

        counts = count_trainable()
    if as_json:
        show_json({"methods": rows, **({"trainable_parameters": counts} if count else {})})
        return
    if count:
        counted = Table("method, on ViT-B/16", "trainable parameters")
        for name, facts in counts.items():
            counted.add_row(name, f"{facts['trainable']:,}")
        show(counted)
        return
    table = Table("method", "what it is", "paper", "options (--set)")
    for row in rows:
        choices = ", ".join(f"{key}={value}" for key, value in row["config"].items())
        table.add_row(row["name"], row["summary"], row["paper"], choices or "none")
    show(table)
