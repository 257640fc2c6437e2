"""The front door: one thin file per verb, imported when it is called (see `verbs`)."""

from __future__ import annotations

import typer

from vclip_cli.cli.verbs import VerbGroup

CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="vclip",
    cls=VerbGroup,
    help="Train and evaluate CLIP models adapted to video, and write reproducible tables.",
    no_args_is_help=True,
    rich_markup_mode=None,  # its help screens import more of Rich than all the rest together
    pretty_exceptions_enable=False,
    context_settings=CONTEXT,
    epilog="Start with:  vclip demo",
)


def _print_version(value: bool) -> None:
    if value:
        from vclip_cli import __version__

        typer.echo(f"vclip {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Train and evaluate CLIP models adapted to video, and write reproducible tables."""
    if context.invoked_subcommand is not None:
        from vclip_cli.cli.config_file import default_options
        from vclip_cli.cli.console import relay_log

        relay_log()
        verb = context.invoked_subcommand
        context.default_map = {verb: default_options(verb)}
