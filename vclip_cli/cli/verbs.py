"""The verbs, each built only when it is asked for: to build them all takes longer than many run."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from vclip_cli.common.errors import UsageError, did_you_mean

VERBS = {
    "demo": ("demo", "demo", "The whole story on the embedded benchmark."),
    "data": ("data", "app", "Datasets: register, list and check them."),
    "labels": ("labels", "app", "Label sets: list, show, compare, embed, begin."),
    "split": ("split", "split", "Write training and test lists, with provenance."),
    "extract": ("extract", "extract", "Decode a dataset once, into a frame store."),
    "embed": ("embed", "embed", "Encode a dataset's videos once, for every later run."),
    "train": ("train", "train", "Train a method by its recipe."),
    "eval": ("evaluate", "evaluate", "Score a method on a protocol's test sets."),
    "run": ("run", "run", "A whole protocol: methods, shots and seeds."),
    "predict": ("predict", "predict", "Rank labels for any video."),
    "convert": ("convert", "convert", "Convert a paper's released checkpoint."),
    "table": ("table", "table", "Print the results of many runs as a table."),
    "report": ("report", "report", "A page that shows what the models do right and wrong."),
    "verify": ("verify", "verify", "Check a record against its files, or evaluate it again."),
    "methods": ("methods", "methods", "List the methods."),
    "protocols": ("protocols", "protocols", "List, show or begin protocols."),
    "bench": ("bench", "bench", "Measure speed on your own clips."),
    "cache": ("cache", "app", "The cache: stored frames, embeddings, toy clips."),
    "doctor": ("doctor", "doctor", "Show what vclip finds on this machine."),
}
"""Name to file in `cli/`, function (or group of verbs) in it, and what the overview says."""


class VerbGroup(TyperGroup):
    """The front door's group: it knows the verbs by name, and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the overview."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name, None where there is none."""
        return build_verb(cmd_name) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the arguments begin with. Raises UsageError, with near misses."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = did_you_mean(args[0], VERBS)
            raise UsageError(f"no such command {args[0]!r}", hint=near or "see: vclip --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The overview, for which no verb is imported."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, _, short) in VERBS.items()])


@lru_cache(maxsize=len(VERBS))
def build_verb(name: str) -> Any:
    """Import a verb and build its command."""
    file, attribute, short = VERBS[name]
    found = getattr(import_module(f"vclip_cli.cli.{file}"), attribute)
    if isinstance(found, typer.Typer):
        command = typer.main.get_group(found)
        command.name = name
        return command
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, short_help=short)(found)
    return typer.main.get_command(alone)
