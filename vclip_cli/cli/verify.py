"""`vclip verify`: check a record against its files, and compute its metrics again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options

if TYPE_CHECKING:
    from vclip_cli.engine.verification.verify import Verified

MISMATCH = 4
"""As for damaged data: a file is not what the record says. 6 is for comparisons between results."""


@options.takes("verify")
def verify(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RUN", help="Records, or folders that hold them. Default: runs/."),
    ] = None,
    rerun: Annotated[
        bool,
        typer.Option("--rerun", help="Evaluate again, in a temporary folder, and compare."),
    ] = False,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            min=0,
            help="Points by which a metric may move in --rerun: other hardware rounds otherwise.",
        ),
    ] = 0.1,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Check every hash in a record against the files: predictions, lists, label texts, prompts,
    protocol, weights; compute its metrics again from the predictions.

    Exit code 0 when all that could be checked matches, 4 when something differs. What is not here,
    such as the weights on another machine, is named as not checked.

    Example:  vclip verify runs/vita-test --rerun
    """
    from vclip_cli.cli.console import progress, show_json
    from vclip_cli.library import functions as library

    found, asked = [], options.given(settings)
    for entry in library.verified(paths or "runs", rerun, tolerance, progress, asked):
        found.append(entry)
        if not as_json:
            _show(entry)
    if as_json:
        show_json(
            {
                "matches": all(entry.matches for entry in found),
                "records": [entry.as_dict() for entry in found],
            }
        )
    if not all(entry.matches for entry in found):
        raise typer.Exit(MISMATCH)


def _show(entry: Verified) -> None:
    from rich.table import Table
    from rich.text import Text

    from vclip_cli.cli.console import printable, say, show

    table = Table("what", "status", "found", title=None)
    styles = {"match": "green", "differs": "red", "not checked": "yellow"}
    for check in entry.checks:
        status = Text(check.status, style=styles[check.status])
        table.add_row(check.what, status, Text(printable(check.detail)))
    show(table)
    for line in _rerun_lines(entry):
        show(line)
    for remark in entry.remarks:
        say(remark)
    verdict = "matches" if entry.matches else "differs"
    count = len(entry.checks) - len(entry.unchecked)
    left = f", {len(entry.unchecked)} not checked" if entry.unchecked else ""
    show(f"{verdict}: {entry.path} ({count} checks{left})")


def _rerun_lines(entry: Verified) -> list[str]:
    again = entry.again
    if again is None:
        return []
    lines = ["evaluated again: the same predictions to the byte"] if again.identical else []
    if again.scored[0] != again.scored[1]:
        lines.append(f"evaluated again: {again.scored[1]:,} videos scored, not {again.scored[0]:,}")
    for moved in again.moved:
        within = "within" if abs(moved.by) <= again.tolerance else "beyond"
        lines.append(
            f"evaluated again: {moved.metric} is {moved.again:.4f}, not {moved.record:.4f}:"
            f" moved by {moved.by:+.4f}, {within} the tolerance of {again.tolerance:g}"
            " for other hardware"
        )
    if not lines:
        lines.append("evaluated again: the same metrics")
    if again.largest_score_difference is not None and not again.identical:
        lines[-1] += (
            f"; scores differ by at most {again.largest_score_difference:.2g},"
            f" {again.changed_decisions:,} best classes changed"
        )
    return lines
