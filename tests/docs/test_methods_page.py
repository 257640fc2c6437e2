"""docs/methods.md: a section for every method, and no reference to a section that is not there."""

from __future__ import annotations

import re
from pathlib import Path

import vclip_cli
from vclip_cli.models.registry import find_method, list_methods

PACKAGE = Path(vclip_cli.__file__).parent
PAGE = (PACKAGE / "docs" / "methods.md").read_text(encoding="utf-8")
HEADINGS = {
    heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
}


def test_every_shipped_method_has_a_section_and_its_paper() -> None:
    for name, path in list_methods().items():
        if PACKAGE in path.parents:
            assert name in HEADINGS
            assert find_method(name).paper.rpartition(" ")[2] in PAGE


def test_references_lead_to_a_section() -> None:
    found = set(re.findall(r"\]\(#([\w-]+)\)", PAGE))
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"docs/methods\.md#([\w-]+)", text))
    assert len(found) >= 9
    assert found <= HEADINGS
