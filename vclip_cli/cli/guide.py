"""`vclip guide`: the documents, read in the terminal. They ship with the package."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json
from vclip_cli.common.errors import UsageError, did_you_mean

DOCS = Path(__file__).parents[1] / "docs"
INDEX = "index"
_LISTED = re.compile(r"^- \[(.+?)\]\(([\w-]+)\.md\): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page of the guide, and what the index says about it on one line."""

    name: str
    title: str
    summary: str

    @property
    def file(self) -> Path:
        """Where its Markdown lies."""
        return DOCS / f"{self.name}.md"


def guide(
    page: Annotated[
        str | None, typer.Argument(metavar="PAGE", help="The page to show; without it, a list.")
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
    elif as_json:
        show_json({"pages": [{**vars(found), "file": str(found.file)} for found in list_pages()]})
    else:
        from rich.table import Table

        table = Table("page", "what it says")
        for found in list_pages():
            table.add_row(found.name, found.summary)
        show(table)
        say("show one with: vclip guide PAGE")


def list_pages() -> list[Page]:
    """Every page, in the order of the index."""
    index = (DOCS / f"{INDEX}.md").read_text(encoding="utf-8")
    return [Page(name, title, summary) for title, name, summary in _LISTED.findall(index)]


def is_terminal() -> bool:
    """Whether a person reads what is printed, so that it is laid out for the eye."""
    return sys.stdout.isatty()


def _show_page(name: str, as_json: bool) -> None:
    """Print a page. Raises UsageError, with the near misses, where there is no such page."""
    known = {page.name: page for page in [Page(INDEX, "The guide", ""), *list_pages()]}
    wanted = name.lower().removesuffix(".md")
    if wanted not in known:
        raise UsageError(f"no such page {name!r}", hint=did_you_mean(wanted, known))
    text = known[wanted].file.read_text(encoding="utf-8")
    if as_json:
        show_json({"name": wanted, "title": known[wanted].title, "text": text})
    elif is_terminal():
        from rich.markdown import Markdown

        show(Markdown(text, hyperlinks=False))
    else:
        sys.stdout.write(text)
