"""`vclip guide`: the documents, read in the terminal. They ship with the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json
from vclip_cli.common.errors import UsageError, did_you_mean

DOCS = Path(__file__).parents[1] / "docs"
INDEX = "index"


def guide(
    page: Annotated[
        str | None, typer.Argument(metavar="[PAGE]", help="The page to show; without it, a list.")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Read the documents in the terminal: the list of pages, or one page.

    Example:  vclip guide python
    """
    if page is not None:
        _show_page(page, as_json)
        return
    rows = []
    for name, path in pages().items():
        title, summary = _opening(path)
        rows.append({"name": name, "title": title, "summary": summary, "file": str(path)})
    if as_json:
        show_json({"pages": rows})
        return
    from rich.table import Table

    table = Table("page", "what it says")
    for row in rows:
        table.add_row(row["name"], row["summary"])
    show(table)
    say("show one with: vclip guide PAGE")


def pages() -> dict[str, Path]:
    """Every page, name to file, in the order in which the index links them."""
    files = {path.stem: path for path in sorted(DOCS.glob("*.md"))}
    index = files.pop(INDEX).read_text(encoding="utf-8")
    places = {name: index.find(f"]({name}.md)") for name in files}
    return {name: files[name] for name in sorted(files, key=lambda name: places[name])}


def is_terminal() -> bool:
    """Whether a person reads what is printed, so that it is laid out for the eye."""
    return sys.stdout.isatty()


def _opening(path: Path) -> tuple[str, str]:
    """A page's title, and the first sentence below it."""
    title, paragraph, *_ = path.read_text(encoding="utf-8").split("\n\n")
    sentence, dot, _ = " ".join(paragraph.split()).partition(". ")
    return title.removeprefix("# ").strip(), sentence + dot.strip()


def _show_page(name: str, as_json: bool) -> None:
    """Print a page. Raises UsageError, with the near misses, where there is no such page."""
    known = {INDEX: DOCS / f"{INDEX}.md", **pages()}
    wanted = name.lower().removesuffix(".md")
    if wanted not in known:
        raise UsageError(
            f"no such page {name!r}", hint=did_you_mean(wanted, known) or "see: vclip guide"
        )
    text = known[wanted].read_text(encoding="utf-8")
    if as_json:
        show_json({"name": wanted, "title": _opening(known[wanted])[0], "text": text})
        return
    if not is_terminal():
        sys.stdout.write(text)
        return
    from rich.markdown import Markdown

    show(Markdown(text, hyperlinks=False))
