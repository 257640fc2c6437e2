"""`vclip doctor`: versions, devices, decoders, caches and configuration on one screen."""

from __future__ import annotations

from typing import Any

from vclip_cli.cli import options
from vclip_cli.cli.console import show, show_json


def doctor(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what vclip finds on this machine: versions, devices, decoders, folders, datasets."""
    from rich.table import Table

    from vclip_cli.engine.diagnosis import diagnose

    found = diagnose()
    if as_json:
        show_json(found)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for section, values in found.items():
        for position, (key, value) in enumerate(values.items()):
            table.add_row(section if position == 0 else "", f"{key}: {_shown(value)}")
    show(table)


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
