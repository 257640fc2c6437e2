"""`vclip table`: records side by side, as papers print them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vclip_cli.cli import options


@options.takes("table")
def table(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Records, or folders that hold them. Default: runs/."),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format", help="term, md, csv, latex, html or json.", rich_help_panel="Table"
        ),
    ] = "term",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="A metric of the records, such as top1, top5, map. May be repeated. Default: what"
            " papers print.",
            rich_help_panel="Table",
        ),
    ] = None,
    costs: Annotated[
        bool | None,
        typer.Option(
            "--costs/--no-costs",
            help="GFLOPs and trainable parameters. Default: for supervised tables.",
            rich_help_panel="Table",
        ),
    ] = None,
    intervals: Annotated[
        bool,
        typer.Option("--intervals", help="Print 95 % intervals.", rich_help_panel="Table"),
    ] = False,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="Papers' figures of these methods below ours, with how their settings differ.",
            rich_help_panel="Table",
        ),
    ] = False,
    all_published: Annotated[
        bool,
        typer.Option(
            "--all-published", help="Those of other methods too.", rich_help_panel="Table"
        ),
    ] = False,
    rank_published: Annotated[
        bool,
        typer.Option(
            "--rank-published",
            help="Bold and underline over ours and theirs together.",
            rich_help_panel="Table",
        ),
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Test two methods (or folders of records) for a difference on the same clips.",
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
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Print the results of many runs as one table: methods in rows, datasets in columns.

    Repeats over splits and seeds are joined to mean and standard deviation. Records that follow
    different protocols, or were scored on different lists, are not put side by side (exit code 6).

    Example: vclip table runs/ --published --format latex --out table.tex
    """
    out = settings["out"]
    import sys

    from vclip_cli.cli.console import say, show
    from vclip_cli.common.errors import UsageError, did_you_mean
    from vclip_cli.common.files import write_text
    from vclip_cli.results.collect import collect_records, leave_out_partial
    from vclip_cli.results.comparison import compare_methods
    from vclip_cli.results.published import load_published
    from vclip_cli.results.render import FORMS, render
    from vclip_cli.results.render_terminal import terminal_table, terminal_text
    from vclip_cli.results.table import build_tables

    form = "json" if as_json else form
    if form not in ("term", *FORMS):
        hint = did_you_mean(form, ("term", *FORMS))
        raise UsageError(f"unknown format {form!r}", where="--format", hint=hint)
    if out is not None and (out.is_dir() or not out.name):
        raise UsageError("the table goes to a file", where=str(out), found="a folder")
    if compare is not None and (published or all_published or costs or by_protocol):
        raise UsageError("--compare prints a table of its own", hint="leave the other options out")
    if rank_published and not (published or all_published):
        raise UsageError("--rank-published needs --published")
    records = collect_records(paths or [Path("runs")])
    if compare is not None:
        kept = records if partial else leave_out_partial(records)
        tables = [compare_methods(kept, *compare, metric[0] if metric else None)]
    else:
        figures = load_published() if published or all_published else None
        tables = build_tables(
            records,
            metric,
            partial=partial,
            by_protocol=by_protocol,
            costs=costs,
            intervals=intervals,
            published=figures if figures is None or all_published else figures.of_own_methods(),
            rank_published=rank_published,
        )
    left_out = 0 if partial else sum(loaded.record.partial for loaded in records)
    if left_out:
        noun = "record was" if left_out == 1 else "records were"
        say(f"{left_out} partial {noun} left out; --partial shows them")
    if out is not None:
        write_text(out, terminal_text(tables) if form == "term" else render(tables, form))
        say(f"wrote {out}")
    elif form == "term" and not sys.stdout.isatty():
        sys.stdout.write(terminal_text(tables))  # as wide as it needs to be
    elif form == "term":
        for built in tables:
            show(terminal_table(built))
    else:
        sys.stdout.write(render(tables, form))
