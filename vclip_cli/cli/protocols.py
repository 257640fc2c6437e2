"""`vclip protocols`: list, show and begin protocols."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.data.protocol import Entry, Protocol
    from vclip_cli.data.recipe import Schedule


def protocols(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show this protocol (a name or a .yaml file), or `new` to begin one.",
        ),
    ] = None,
    new_name: Annotated[
        str | None, typer.Argument(metavar="NEW", help="After `new`: the name of your protocol.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="After `new`: the .yaml file to write."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the protocols, or show one: its lists, settings and published recipes.

    `vclip protocols new NAME` writes a commented protocol to `.vclip/protocols/NAME.yaml`.
    Example:  vclip protocols base-to-novel
    """
    from rich.table import Table

    from vclip_cli.data.protocol import list_protocols, load_protocol

    if name == "new":
        _begin(new_name, out, as_json)
        return
    if new_name is not None or out is not None:
        given = new_name if new_name is not None else f"--out {out}"
        raise UsageError("this belongs to: vclip protocols new NAME", found=repr(given))
    if name is not None:
        protocol = load_protocol(name)
        if as_json:
            show_json({**protocol.model_dump(mode="json"), "sha256": protocol.sha256})
        else:
            _show_one(protocol)
        return
    found = {known: load_protocol(path) for known, path in list_protocols().items()}
    if as_json:
        rows = [
            {
                "name": known,
                "version": protocol.version,
                "title": protocol.title,
                "kind": protocol.kind,
                "sha256": protocol.sha256,
                "recipes": list(protocol.recipes),
            }
            for known, protocol in found.items()
        ]
        show_json({"protocols": rows})
        return
    table = Table("protocol", "version", "title", "tests on", "recipes")
    for known, protocol in found.items():
        datasets = ", ".join(dict.fromkeys(_dataset(entry) for entry in protocol.test))
        recipes = ", ".join(protocol.recipes) or "none"
        table.add_row(known, str(protocol.version), protocol.title, datasets, recipes)
    show(table)


def _begin(name: str | None, out: Path | None, as_json: bool) -> None:
    from vclip_cli.common.resources import new_yaml

    if name is None:
        raise UsageError("no name was given", hint="vclip protocols new NAME")
    path = new_yaml("protocols", name, out)
    if as_json:
        show_json({"name": name, "file": str(path)})
    else:
        show(f"protocol: {path}")
        say(f"edit it, then: vclip protocols {name if out is None else out}")


def _show_one(protocol: Protocol) -> None:
    from rich.table import Table

    settings = [f"{protocol.title} ({protocol.name}, version {protocol.version})"]
    settings.append(
        f"{protocol.frames} frames, {protocol.views.clips}x{protocol.views.crops} views"
    )
    if protocol.shots:
        settings.append("shots " + ", ".join(map(str, protocol.shots)))
    if protocol.seeds:
        settings.append("seeds " + ", ".join(map(str, protocol.seeds)))
    settings.append("metrics " + ", ".join(protocol.metrics))
    joined: list[str] = list(protocol.aggregate.over)
    joined += ["harmonic mean of base and novel"] if protocol.aggregate.harmonic_mean else []
    settings.append("tables join " + (", ".join(joined) or "nothing"))
    show("\n".join(settings))
    lists = Table("use", "dataset", "split", "part", "classes", "draw")
    for use, entries in (("train", protocol.train), ("test", protocol.test)):
        for entry in entries:
            lists.add_row(
                use,
                _dataset(entry),
                " or ".join(entry.split) + (" (on request)" if entry.optional else ""),
                entry.part or "",
                entry.classes or (f"half by {entry.halves}" if entry.halves else "all"),
                entry.draw if use == "train" else "",
            )
    show(lists)
    if protocol.recipes:
        recipes = Table("recipe", "method", "for", "frames", "rate", "length", "batch", "source")
        for name, recipe in protocol.recipes.items():
            rate = f"{recipe.optimizer.learning_rate:g}" if recipe.optimizer else "its own"
            recipes.add_row(
                name,
                recipe.method,
                ", ".join(recipe.datasets) or "any",
                str(recipe.frames),
                rate,
                _length(recipe.schedule),
                str(recipe.batch_size),
                recipe.source,
            )
        show(recipes)
    for name, recipe in protocol.recipes.items():
        if recipe.start_from:
            say(f"{name} begins with: {recipe.start_from}")
        if recipe.notes:
            say(f"{name}: {recipe.notes.strip()}")
    say(f"source: {protocol.source.strip()}")


def _length(schedule: Schedule | None) -> str:
    if schedule is None:
        return "its own"
    return f"{schedule.epochs} epochs" if schedule.epochs else f"{schedule.steps} steps"


def _dataset(entry: Entry) -> str:
    return "any other" if entry.dataset == "*" else entry.dataset
