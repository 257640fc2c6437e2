"""`vclip table`: records side by side, as papers print them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vclip_cli.cli import options


def table(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Records, or folders that hold them. Default: runs/."),
    ] = None,
    form: Annotated[
        str,
        typer.Option("--format", help="term, md, csv, latex or json.", rich_help_panel="Table"),
    ] = "term",
    metric: Annotated[
        str | None,
        typer.Option(
            "--metric",
            help="top1, top5, mean_class_accuracy, map, map_micro. Default: top1, else map.",
            rich_help_panel="Table",
        ),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial", help="Show partial records (--limit) too.", rich_help_panel="Table"
        ),
    ] = False,
    by_protocol: Annotated[
        bool,
        typer.Option("--by-protocol", help="A table for each protocol.", rich_help_panel="Table"),
    ] = False,
    out: options.Out = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the results of many runs as one table: methods in rows, datasets in columns.

    Repeats over splits and seeds are joined to mean and standard deviation. Records that follow
    different protocols, or were scored on different lists, are not put side by side (exit code 6).

    Example: vclip table runs/ --format latex --out table.tex
    """
    import sys

    from vclip_cli.cli.console import say, show
    from vclip_cli.errors import UsageError, did_you_mean
    from vclip_cli.files import write_text
    from vclip_cli.results.collect import collect_records
    from vclip_cli.results.render import FORMS, render
    from vclip_cli.results.render_terminal import terminal_table, terminal_text
    from vclip_cli.results.table import build_tables

    form = "json" if as_json else form
    if form not in ("term", *FORMS):
        hint = did_you_mean(form, ("term", *FORMS))
        raise UsageError(f"unknown format {form!r}", where="--format", hint=hint)
    if out is not None and (out.is_dir() or not out.name):
        raise UsageError("the table goes to a file", where=str(out), found="a folder")
    records = collect_records(paths or [Path("runs")])
    tables = build_tables(records, metric, partial=partial, by_protocol=by_protocol)
    left_out = 0 if partial else sum(loaded.record.partial for loaded in records)
    if left_out:
        noun = "record was" if left_out == 1 else "records were"
        say(f"{left_out} partial {noun} left out; --partial shows them")
    if out is not None:
        write_text(out, terminal_text(tables) if form == "term" else render(tables, form))
        say(f"wrote {out}")
    elif form == "term":
        for built in tables:
            show(terminal_table(built))
    else:
        sys.stdout.write(render(tables, form))
