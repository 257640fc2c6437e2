"""`vclip doctor`: versions, devices, decoders, caches and configuration on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import show, show_json

Run = Annotated[
    Path | None,
    typer.Option(
        "--run", help="A run's folder: why it is incomplete, and the command that continues it."
    ),
]


def doctor(
    run: Run = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Show what vclip finds on this machine: versions, devices, decoders, folders, datasets.

    With --run: the progress of the runs in a folder.
    Example:  vclip doctor --run runs
    """
    from rich.table import Table

    if run is not None:
        _show_runs(run, as_json)
        return
    from vclip_cli.engine.runs.diagnosis import diagnose

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


def _show_runs(folder: Path, as_json: bool) -> None:
    from vclip_cli.engine.runs.run_log import diagnose_runs

    found = diagnose_runs(folder)
    if as_json:
        show_json({"runs": [vars(entry) for entry in found]})
        return
    for entry in found:
        counts = entry.progress
        counted = [f"{counts[key]} {key}" for key in ("done", "failed") if key in counts]
        counted += [f"of {counts['of']}"] if "of" in counts else []
        shown = f" ({', '.join(counted)})" if counted else ""
        show(f"{entry.folder}: {entry.work} {entry.outcome}{shown}")
        show(f"  {entry.attempts} attempts since {entry.started}, last seen {entry.last_event}")
        for text in [*entry.warnings, *([entry.error] if entry.error else [])]:
            show(f"  {text}")
        if entry.continues:
            show(f"  continue with: {entry.continues}")


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)
