"""The README and the pages hang together: size, links, and every name that a person can use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from documents import DOCS, README, documents, name_of, prose
from pydantic import BaseModel

import vclip_cli
from vclip_cli.cli.guide import list_pages
from vclip_cli.cli.verbs import VERBS, build_verb
from vclip_cli.data.protocol import Protocol, list_protocols, load_protocol
from vclip_cli.models.registry import list_methods
from vclip_cli.results.record import Record

LINK = re.compile(r"\]\(([^)\s]+)\)")


def _text() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in documents())


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for target in LINK.findall(prose(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.is_file(), f"{path.name}: {target}"
        if anchor:
            assert anchor in _anchors(found), f"{path.name}: {target}"


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


def test_the_index_lists_every_page_on_a_line_of_its_own() -> None:
    listed = [page.name for page in list_pages()]
    assert sorted(listed) == sorted({path.stem for path in DOCS.glob("*.md")} - {"index"})
    linked = LINK.findall((DOCS / "index.md").read_text(encoding="utf-8"))
    assert linked == [f"{name}.md" for name in listed]


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=name_of)
def test_a_page_begins_with_its_title_and_a_paragraph(path: Path) -> None:
    title, opening, *_ = path.read_text(encoding="utf-8").split("\n\n")
    assert re.fullmatch(r"# .+", title)
    assert re.match(r"[A-Z`*]", opening)


def test_every_verb_is_shown() -> None:
    text = _text()
    assert [verb for verb in VERBS if f"vclip {verb}" not in text] == []


def test_every_option_of_every_verb_is_described() -> None:
    text = _text()
    options = {
        option
        for verb in VERBS
        for command in _commands(build_verb(verb))
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    assert len(options) >= 80
    assert [option for option in sorted(options) if not re.search(rf"{option}\b(?!-)", text)] == []


def _commands(command: Any) -> list[Any]:
    """A verb's command, or all commands of a group."""
    return list(getattr(command, "commands", {"": command}).values())


def test_every_method_and_protocol_is_named() -> None:
    text = _text()
    names = [*list_methods(), *list_protocols()]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_readmes_stars_are_the_papers_recipes() -> None:
    rows = [
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in README.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and line.count("|") == 8
    ]
    protocols = [cell.strip("`") for cell in rows[0][2:]]
    stars = {
        (row[0].strip("`"), protocol)
        for row in rows[1:]
        for protocol, cell in zip(protocols, row[2:], strict=True)
        if cell == "★"
    }
    assert {row[0].strip("`") for row in rows[1:]} == set(list_methods())
    assert sorted(protocols) == sorted(list_protocols())
    published = {
        (recipe.method, name)
        for name in protocols
        for recipe in load_protocol(name).recipes.values()
        if not recipe.source.startswith("vclip")
    }
    assert stars == published


def test_every_public_name_is_on_the_page_about_python() -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    assert [name for name in vclip_cli.__all__ if not re.search(rf"`{name}\b", text)] == []


@pytest.mark.parametrize(("page", "model"), [("record", Record), ("extending", Protocol)])
def test_every_key_of_a_file_is_described(page: str, model: type[BaseModel]) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert [name for name in model.model_fields if f"`{name}`" not in text] == []


@pytest.mark.parametrize("path", documents(), ids=name_of)
def test_files_of_the_project_that_are_named_exist(path: Path) -> None:
    named = re.findall(r"`((?:tests|vclip_cli|protocols|label_sets|\.ci)/[\w/.-]*)`", prose(path))
    root = README.parent
    assert [n for n in named if "NAME" not in n and not (root / n).exists()] == []
