"""The tables of `vclip_cli/docs/settings.md`, from the declarations of all settings.

`python tests/support/settings_page.py` writes them into the page.
"""

from __future__ import annotations

from pathlib import Path

import vclip_cli
from vclip_cli.common.settings import Declared, declared
from vclip_cli.engine.requests import TAKES

PAGE = Path(vclip_cli.__file__).parent / "docs" / "settings.md"
BEGIN = "<!-- From here on the page is written by tests/support/settings_page.py. -->\n"
KINDS = {bool: "switch", int: "whole number", float: "number", str: "text", Path: "path"}


def tables() -> str:
    """The part of the page that follows from the declarations: a table for each group."""
    parts = []
    for spec, verbs_of in _verbs_by_spec().items():
        rows = [
            _row(entry, verbs_of[entry.name]) for entry in declared(spec) if entry.name in verbs_of
        ]
        parts.append("\n".join([_heading(spec), "", *_head(), *rows, ""]))
    return "\n" + "\n".join(_one_heading_a_group(parts))


def _verbs_by_spec() -> dict[type, dict[str, list[str]]]:
    """Each spec, in the order of a verb's help, with the verbs that take each of its settings."""
    found: dict[type, dict[str, list[str]]] = {}
    for verb, takes in TAKES.items():
        for spec, names in takes.items():
            for name in names.replace("+", "").split():
                found.setdefault(spec, {}).setdefault(name, []).append(verb)
    return found


def _heading(spec: type) -> str:
    return f"## {spec.GROUP}"  # type: ignore[attr-defined]  # every spec has one


def _one_heading_a_group(parts: list[str]) -> list[str]:
    """Two specs with one group's name stand under one heading."""
    seen: set[str] = set()
    kept = []
    for part in parts:
        heading, _, rest = part.partition("\n")
        kept.append(rest.lstrip("\n") if heading in seen else part)
        seen.add(heading)
    return kept


def _head() -> list[str]:
    return [
        "| option | what it does | verbs | value | default | variable | in `config.yaml` |",
        "|---|---|---|---|---|---|---|",
    ]


def _row(entry: Declared, verbs: list[str]) -> str:
    setting = entry.setting
    option = f"`{entry.option}`"
    if setting.short:
        option += f", `-{setting.short}`"
    if setting.negatable:
        option += f", `--no-{entry.key}`"
    variable = f"`{entry.variable}`" if entry.variable else "–"
    key = f"`{entry.key}`" if entry.variable else "–"
    help_text = setting.help.replace("|", "\\|")
    cells = [option, help_text, ", ".join(verbs), _value(entry), _default(entry), variable, key]
    return "| " + " | ".join(cells) + " |"


def _value(entry: Declared) -> str:
    setting = entry.setting
    text = KINDS[entry.kind]
    if setting.choices:
        text = " or ".join(map(str, setting.choices))
    elif setting.low is not None and setting.high is not None:
        text += f", {setting.low:g} to {setting.high:g}"
    elif setting.low is not None:
        text += f", at least {setting.low:g}"
    if entry.many:
        text += ", with commas between several" if setting.commas else ", may be repeated"
    return text


def _default(entry: Declared) -> str:
    if entry.default is None or entry.default == ():
        return "–"
    if isinstance(entry.default, bool):
        return "on" if entry.default else "off"
    if isinstance(entry.default, tuple):
        return "`" + ",".join(map(str, entry.default)) + "`"
    return f"`{entry.default}`"


def page() -> str:
    """The whole page: what a person wrote, then the tables."""
    written, found, _ = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    assert found, f"{PAGE} lacks the line {BEGIN!r}"
    return written + BEGIN + tables()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
