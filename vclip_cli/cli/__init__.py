"""The front door: one thin file per verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="vclip",
    help="Train and evaluate CLIP models adapted to video, and write reproducible tables.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
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
        from vclip_cli.cli.config_file import read_config

        values = read_config()
        commands = getattr(context.command, "commands", {})
        context.default_map = {name: values for name in commands}


def _add_verbs() -> None:
    from vclip_cli.cli import (
        data,
        demo,
        doctor,
        evaluate,
        labels,
        methods,
        predict,
        protocols,
        split,
        table,
    )

    app.command("demo")(demo.demo)
    app.add_typer(data.app, name="data")
    app.add_typer(labels.app, name="labels")
    app.command("split")(split.split)
    app.command("eval")(evaluate.evaluate)
    app.command("predict")(predict.predict)
    app.command("table")(table.table)
    app.command("methods")(methods.methods)
    app.command("protocols")(protocols.protocols)
    app.command("doctor")(doctor.doctor)


_add_verbs()
