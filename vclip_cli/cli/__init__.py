"""The front door: one thin file per verb. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import typer

CONTEXT = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="vclip",
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
        from vclip_cli.cli.config_file import read_config
        from vclip_cli.cli.console import relay_warnings

        relay_warnings()
        values = read_config()
        commands = getattr(context.command, "commands", {})
        context.default_map = {name: values for name in commands}


def _add_verbs() -> None:
    from vclip_cli.cli import (
        bench,
        cache,
        convert,
        data,
        demo,
        doctor,
        embed,
        evaluate,
        extract,
        labels,
        methods,
        predict,
        protocols,
        report,
        run,
        split,
        table,
        train,
        verify,
    )

    for name, verb, short in (
        ("demo", demo.demo, "The whole story on the embedded benchmark."),
        ("split", split.split, "Write training and test lists, with provenance."),
        ("extract", extract.extract, "Decode a dataset once, into a frame store."),
        ("embed", embed.embed, "Encode a dataset's videos once, for every later run."),
        ("train", train.train, "Train a method by its recipe."),
        ("eval", evaluate.evaluate, "Score a method on a protocol's test sets."),
        ("run", run.run, "A whole protocol: methods, shots and seeds."),
        ("predict", predict.predict, "Rank labels for any video."),
        ("convert", convert.convert, "Convert a paper's released checkpoint."),
        ("table", table.table, "Print the results of many runs as a table."),
        ("report", report.report, "A page that shows what the models do right and wrong."),
        ("verify", verify.verify, "Check a record against its files, or evaluate it again."),
        ("methods", methods.methods, "List the methods."),
        ("protocols", protocols.protocols, "List or show protocols and recipes."),
        ("bench", bench.bench, "Measure speed on your own clips."),
        ("doctor", doctor.doctor, "Show what vclip finds on this machine."),
    ):
        app.command(name, short_help=short)(verb)
    app.add_typer(data.app, name="data")
    app.add_typer(labels.app, name="labels")
    app.add_typer(cache.app, name="cache")


_add_verbs()
