"""`vclip labels`: the classes of datasets, their texts and subsets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Label sets: list, show, compare, embed and begin them.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A label set by name or .yaml file.")]


@app.command("list")
def list_(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the label sets: the shipped ones, and those of your own label_sets/ folders."""
    from rich.table import Table

    from vclip_cli.common.resources import list_yaml
    from vclip_cli.data.label_set import load_label_set

    rows: list[dict[str, Any]] = []
    for name, path in list_yaml("label_sets").items():
        label_set = load_label_set(path)
        rows.append(
            {
                "name": name,
                "title": label_set.title,
                "version": label_set.version,
                "classes": len(label_set.classes),
                "texts": label_set.variants,
                "subsets": {subset: len(names) for subset, names in label_set.subsets.items()},
                "sha256": label_set.sha256,
                "file": str(path),
            }
        )
    if as_json:
        show_json({"label_sets": rows})
        return
    table = Table("label set", "classes", "texts (--text)", "subsets", "title")
    for row in rows:
        subsets = ", ".join(f"{name} {count}" for name, count in row["subsets"].items())
        table.add_row(
            row["name"], str(row["classes"]), ", ".join(row["texts"]), subsets, row["title"]
        )
    show(table)


@app.command("show")
def show_(
    name: Name,
    text: options.Text = None,
    subset: Annotated[
        str | None, typer.Option("--subset", help="Only the classes of this subset.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show the classes of a label set with the text that the text tower gets.

    Example:  vclip labels show hmdb51 --subset base
    """
    from rich.table import Table
    from rich.text import Text

    from vclip_cli.data.label_set import NATURAL, load_label_set

    label_set = load_label_set(name)
    variant = text or NATURAL
    chosen = label_set.subset(subset) if subset else label_set.names
    index = {entry.name: (position, entry) for position, entry in enumerate(label_set.classes)}
    rows: list[dict[str, Any]] = [
        {
            "index": index[class_name][0],
            "name": class_name,
            "text": label_set.text(class_name, variant),
            "aliases": index[class_name][1].aliases,
        }
        for class_name in chosen
    ]
    if as_json:
        show_json(
            {
                "name": label_set.name,
                "title": label_set.title,
                "version": label_set.version,
                "source": label_set.source,
                "sha256": label_set.sha256,
                "text": variant,
                "texts": label_set.variants,
                "subset": subset,
                "subsets": label_set.subsets,
                "classes": rows,
            }
        )
        return
    table = Table("index", "class", f"text ({variant})", "aliases")
    for row in rows:
        cells = (str(row["index"]), row["name"], row["text"], ", ".join(row["aliases"]))
        table.add_row(*(Text(cell) for cell in cells))
    show(table)
    subsets = ", ".join(f"{key} ({len(names)})" for key, names in label_set.subsets.items())
    say(f"{label_set.title}, version {label_set.version}: {len(label_set.classes)} classes")
    say(f"texts: {', '.join(label_set.variants)}; subsets: {subsets or 'none'}")


@app.command("diff")
def diff(
    a: Name,
    b: Name,
    text: options.Text = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Compare two label sets: classes that only one has, respellings, texts that differ.

    Example:  vclip labels diff kinetics400 kinetics600
    """
    from vclip_cli.data.label_set import NATURAL, diff_label_sets, load_label_set

    first, second = load_label_set(a), load_label_set(b)
    found = diff_label_sets(first, second, text or NATURAL)
    if as_json:
        show_json({"a": a, "b": b, "text": text or NATURAL, **vars(found)})
        return
    counts = f"{len(found.only_a)} only in {a}, {len(found.only_b)} only in {b}"
    lines = [f"{found.shared} classes in both, {counts}"]
    lines += [f"- {name}" for name in found.only_a]
    lines += [f"+ {name}" for name in found.only_b]
    lines += [f"~ {ours} -> {theirs}" for ours, theirs in found.respelled]
    lines += [f"text of {name}: {ours!r} -> {theirs!r}" for name, ours, theirs in found.texts]
    if found.reordered:
        lines.append("the shared classes are in another order")
    show("\n".join(lines))


@app.command("new")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of your label set.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The .yaml file to write.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Write a commented label set to `.vclip/label_sets/NAME.yaml`, to be edited.

    Example:  vclip labels new kitchen
    """
    from vclip_cli.common.resources import new_yaml

    path = new_yaml("label_sets", name, out)
    if as_json:
        show_json({"name": name, "file": str(path)})
    else:
        show(f"label set: {path}")
        say(f"edit it, then: vclip labels show {name if out is None else out}")


@app.command("embed", cls=options.GroupedCommand)
@options.takes("labels embed")
def embed(
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS",
            help="Labels with commas between; a label set; or a .txt or .yaml file.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The file to write, or to extend (.safetensors)."),
    ],
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Encode labels once, for `predict` and `eval`; add missing labels to an existing file.

    Example:  vclip labels embed charades --checkpoint run.safetensors --out labels.safetensors
    """
    from vclip_cli.cli.console import progress
    from vclip_cli.library import functions as library

    loaded, done = library.embed_label_set(
        labels, out, progress=progress, **options.given(settings)
    )
    if as_json:
        show_json({"file": str(out), "method": loaded.describe(), **vars(done)})
        return
    show(f"label embeddings: {out}")
    say(f"{done.encoded:,} labels encoded, {done.kept:,} in the file before; now {done.total:,}")
