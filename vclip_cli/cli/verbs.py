"""The verbs. Each is built only when called: building all takes longer than many verbs run."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from vclip_cli.common.errors import UsageError, did_you_mean

VERBS = {
    "demo": ("Start", "demo", "demo", "Score a tiny CLIP on the embedded benchmark."),
    "guide": ("Start", "guide", "guide", "Read the documents."),
    "data": ("Data", "data", "app", "Datasets: register, list and check them."),
    "labels": ("Data", "labels", "app", "Label sets: list, show, compare and embed them."),
    "split": ("Data", "split", "split", "Write training and test lists, with provenance."),
    "extract": ("Data", "extract", "extract", "Decode a dataset once, into a frame store."),
    "embed": ("Data", "embed", "embed", "Encode a dataset's videos once, for every later run."),
    "train": ("Run", "train", "train", "Train a method by its recipe."),
    "eval": ("Run", "evaluate", "evaluate", "Score a method on a protocol's test sets."),
    "run": ("Run", "run", "run", "A whole protocol: methods, shots and seeds."),
    "predict": ("Run", "predict", "predict", "Rank labels for any video."),
    "convert": ("Run", "convert", "convert", "Convert a paper's released checkpoint."),
    "table": ("Results", "table", "table", "Print the results of many runs as a table."),
    "report": (
        "Results",
        "report",
        "report",
        "Show on a page what the models get right and wrong.",
    ),
    "verify": ("Results", "verify", "verify", "Check a record against its files."),
    "bench": ("Results", "bench", "bench", "Measure speed on your own videos."),
    "methods": ("Look up", "methods", "methods", "List the methods."),
    "protocols": ("Look up", "protocols", "protocols", "List or show protocols and recipes."),
    "cache": ("Look up", "cache", "app", "The cache: stored frames, embeddings, toy clips."),
    "doctor": ("Look up", "doctor", "doctor", "Show what vclip finds on this machine."),
}
"""Name to its group in the overview, its file in `cli/`, the function (or group of verbs) in it,
and what the overview says."""


class VerbGroup(TyperGroup):
    """The front door's group: it knows the verbs by name, and imports one when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the overview."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The verb of that name, None if it does not exist."""
        return build_verb(cmd_name) if cmd_name in VERBS else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that the arguments begin with. Raises UsageError, with near misses."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = did_you_mean(args[0], VERBS)
            raise UsageError(f"no such command {args[0]!r}", hint=near or "see: vclip --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Print the overview without importing a verb."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for name, (group, _, _, short) in VERBS.items():
            groups.setdefault(group, []).append((name, short))
        for group, rows in groups.items():
            with formatter.section(group):
                formatter.write_dl(rows)


@lru_cache(maxsize=len(VERBS))
def build_verb(name: str) -> Any:
    """Import a verb and build its command."""
    _, file, attribute, short = VERBS[name]
    from vclip_cli.cli.options import GroupedCommand

    found = getattr(import_module(f"vclip_cli.cli.{file}"), attribute)
    if isinstance(found, typer.Typer):
        command = typer.main.get_group(found)
        command.name = name
        return command
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, cls=GroupedCommand, short_help=short)(found)
    return typer.main.get_command(alone)
