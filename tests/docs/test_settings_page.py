"""The page of settings says what the declarations say."""

from __future__ import annotations

import settings_page


def test_the_tables_follow_from_the_declarations() -> None:
    written = settings_page.PAGE.read_text(encoding="utf-8")
    assert written == settings_page.page(), "write it: python tests/support/settings_page.py"


def test_every_setting_of_every_verb_has_a_row() -> None:
    rows = [line for line in settings_page.tables().splitlines() if line.startswith("| `--")]
    found = {
        (verb, name)
        for verb, takes in settings_page.TAKES.items()
        for names in takes.values()
        for name in names.replace("+", "").split()
    }
    shown = sum(len(row.split(" | ")[2].split(", ")) for row in rows)
    assert shown == len(found)
