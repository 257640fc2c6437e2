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
        typer.Argument(metavar="RUN", help="Records, or folders that hold them. Default: runs/."),
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
            help="A metric of the records, such as top1, top5, map. May be repeated. Default: the"
            " protocol's metrics.",
            rich_help_panel="Table",
        ),
    ] = None,
    costs: Annotated[
        bool | None,
        typer.Option(
            "--costs/--no-costs",
            help="GFLOPs and trainable parameters. Default: where videos have several views.",
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
            help="Papers' figures of these methods below ours; footnotes say how settings differ.",
            rich_help_panel="Table",
        ),
    ] = False,
    all_published: Annotated[
        bool,
        typer.Option(
            "--all-published", help="Papers' figures of all methods.", rich_help_panel="Table"
        ),
    ] = False,
    rank_published: Annotated[
        bool,
        typer.Option(
            "--rank-published",
            help="Rank (bold, underlined) ours and theirs together.",
            rich_help_panel="Table",
        ),
    ] = False,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--compare",
            metavar="A B",
            help="Test two methods (or folders of records) for a difference on the same videos.",
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

    Repeats that the protocol joins (splits, parts, seeds) become mean and standard deviation.
    Records of different protocols, or scored on different lists, are refused (exit code 6).

    Example: vclip table runs/ --published --format latex --out table.tex
    """
    out = settings["out"]
    import sys

    from vclip_cli.cli.console import say, show
    from vclip_cli.common.errors import UsageError, did_you_mean
    from vclip_cli.common.files import write_text
    from vclip_cli.results.render import FORMS, render
    from vclip_cli.results.render_terminal import terminal_table
    from vclip_cli.results.table import table as build

    form = "json" if as_json else form
    if form not in ("term", *FORMS):
        hint = did_you_mean(form, ("term", *FORMS))
        raise UsageError(f"unknown format {form!r}", where="--format", hint=hint)
    if out is not None and (out.is_dir() or not out.name):
        raise UsageError("the table goes to a file", where=str(out), found="a folder")
    found = build(
        paths or "runs",
        metric=metric,
        costs=costs,
        intervals=intervals,
        published=published,
        all_published=all_published,
        rank_published=rank_published,
        compare=compare,
        partial=partial,
        by_protocol=by_protocol,
    )
    if found.left_out:
        noun = "record was" if found.left_out == 1 else "records were"
        say(f"{found.left_out} partial {noun} left out; --partial shows them")
    if out is None and form == "term" and sys.stdout.isatty():
        for shown in found.tables:
            show(terminal_table(shown))
        return
    text = found.to_text() if form == "term" else render(found.tables, form)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        say(f"wrote {out}")
