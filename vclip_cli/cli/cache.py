"""`vclip cache`: show and clear the cache."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.engine.stores.cache import CacheEntry

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="The cache: stored frames, embeddings, toy videos.",
)

Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Only embeddings, frames or toy. May be repeated."),
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", help="Only entries whose key starts so. May be repeated."),
]
Datasets = Annotated[
    list[str] | None,
    typer.Option("--dataset", "-d", help="Only entries of this dataset. May be repeated."),
]


@app.command("list")
def list_(
    kinds: Kinds = None,
    keys: Keys = None,
    datasets: Datasets = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the entries of the cache, what made them, and their sizes.

    Example:  vclip cache list
    """
    from rich.table import Table

    from vclip_cli.common.resources import cache_folder
    from vclip_cli.engine.stores.cache import choose

    entries = choose(kinds=kinds or (), keys=keys or (), datasets=datasets or ())
    if as_json:
        show_json({"folder": str(cache_folder()), "entries": [e.as_dict() for e in entries]})
        return
    table = Table("kind", "key", "datasets", "videos", "MB", "made by")
    for entry in entries:
        names = ", ".join(entry.datasets)
        size = f"{entry.size / 1e6:,.1f}"
        table.add_row(entry.kind, entry.key, names, f"{entry.items:,}", size, entry.made_by)
    show(table)
    say(f"{_total(entries)} in {cache_folder()}")


@app.command("clear")
def clear(
    kinds: Kinds = None,
    keys: Keys = None,
    datasets: Datasets = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: options.DryRun = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Delete the chosen entries of the cache, and nothing else.

    Example:  vclip cache clear --kind embeddings --dataset toy --dry-run
    """
    from vclip_cli.engine.stores.cache import choose
    from vclip_cli.engine.stores.cache import clear as delete

    if not (kinds or keys or datasets or everything):
        raise UsageError(
            "no entries were chosen",
            hint="--kind, --key or --dataset; or --all; see: vclip cache list",
        )
    if everything and (kinds or keys or datasets):
        raise UsageError("--all takes no --kind, --key or --dataset")
    entries = choose(kinds=kinds or (), keys=keys or (), datasets=datasets or ())
    if entries and not yes and not dry_run:
        _ask(entries)
    freed = 0
    for entry in entries:
        freed += entry.size if dry_run else delete(entry, datasets or ())
    if as_json:
        document = {"entries": [entry.as_dict() for entry in entries], "freed": freed}
        show_json({"dry_run": dry_run, **document})
        return
    for entry in entries:
        show(f"{entry.kind} {entry.key}: {entry.made_by}, {entry.size / 1e6:,.1f} MB")
    show(f"{'would free up to' if dry_run else 'freed'} {freed / 1e6:,.1f} MB")


def _ask(entries: list[CacheEntry]) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"deleting {_total(entries)} needs your confirmation",
            hint="--yes deletes them, --dry-run only shows them",
        )
    for entry in entries:
        say(f"{entry.kind} {entry.key}: {entry.made_by}")
    typer.confirm(f"Delete {_total(entries)}?", abort=True, err=True)


def _total(entries: list[CacheEntry]) -> str:
    megabytes = sum(entry.size for entry in entries) / 1e6
    return f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {megabytes:,.1f} MB"
