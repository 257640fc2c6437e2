"""`vclip methods`: what can be named with --method, and a starting point for a new method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json
from vclip_cli.common.errors import UsageError

Action = Annotated[
    str | None, typer.Argument(metavar="new", help="new: write the file of a new method.")
]
Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The new method's name, such as my-method.")
]
Count = Annotated[
    bool,
    typer.Option("--count", help="Count what each trains on ViT-B/16, at the papers' settings."),
]
NewFile = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The new method's file; by default .vclip/adapters/NAME.py."),
]


def methods(
    action: Action = None,
    name: Name = None,
    count: Count = False,
    out: NewFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the methods: the published ones, and those of your own adapters/ folders.

    Example:  vclip methods new my-method
    """
    if action is None:
        if out is not None:
            raise UsageError("--out goes with a new method", hint="vclip methods new NAME")
        _list_methods(count, as_json)
        return
    if action != "new" or name is None or count:
        found = " ".join(["methods", action, *([name] if name else []), *["--count"] * count])
        raise UsageError(
            f"not understood: vclip {found}", expected="vclip methods, or vclip methods new NAME"
        )
    _write_new(name, out, as_json)


def _list_methods(count: bool, as_json: bool) -> None:
    from rich.table import Table

    from vclip_cli.models.registry import count_trainable, find_method, list_methods

    rows: list[dict[str, Any]] = []
    for name, path in list_methods().items():
        method = find_method(name)
        rows.append(
            {
                "name": name,
                "summary": method.summary,
                "paper": method.paper,
                "cacheable": method.cacheable,
                "config": method.Config().as_dict(),
                "file": str(path),
            }
        )
    counts = count_trainable() if count else {}
    if as_json:
        show_json({"methods": rows, **({"trainable_parameters": counts} if count else {})})
        return
    if count:
        counted = Table("method, on ViT-B/16", "trainable parameters")
        for title, facts in counts.items():
            counted.add_row(title, f"{facts['trainable']:,}")
        show(counted)
        return
    table = Table("method", "what it is", "paper", "options (--set)")
    for row in rows:
        choices = ", ".join(f"{key}={value}" for key, value in row["config"].items())
        table.add_row(row["name"], row["summary"], row["paper"], choices or "none")
    show(table)


def _write_new(name: str, out: Path | None, as_json: bool) -> None:
    from vclip_cli.models.registry import list_methods, write_new_method

    path = write_new_method(name, out)
    if as_json:
        show_json({"method": name, "file": str(path)})
        return
    show(f"method: {path}")
    if list_methods().get(name) != path:
        say("vclip finds it once it lies in an adapters/ folder of VCLIP_PATH or of .vclip/")
        return
    run = f"vclip train -d toy -p few-shot --shots 2 --seed 1 -m {name}"
    say(f"try it: {run} --set epochs=1 --out runs/{name}")
