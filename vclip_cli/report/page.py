"""The page itself: one HTML text that loads nothing from a network.

Names come from files and may be hostile: Jinja escapes them, JSON is written so that it cannot end
its element, and the page's policy allows only the two scripts whose hashes it names.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from vclip_cli import __version__
from vclip_cli.common.errors import UsageError, VclipError
from vclip_cli.report.content import content
from vclip_cli.report.material import ReportMaterial
from vclip_cli.report.provenance import command_of, provenance
from vclip_cli.results.collect import LoadedRecord, group_by_protocol
from vclip_cli.results.escaping import plain
from vclip_cli.results.measure import described
from vclip_cli.results.result_table import ResultTable
from vclip_cli.results.table import build_tables

_FOLDER = Path(__file__).parent
_SCRIPTS = (
    *("core", "theme", "tables", "clips", "plots", "classes", "confusion", "embedding", "hardest"),
    *("attention", "calibration", "page"),
)
_UNSAFE = {
    ord(character): f"\\u{ord(character):04x}" for character in ("<", ">", "&", "\u2028", "\u2029")
}
EXTRA = "pip install 'vclip_cli[report]'"


def require_report_packages() -> None:
    """Raises UsageError when Plotly or Jinja is not installed."""
    import importlib.util

    lacking = [name for name in ("plotly", "jinja2") if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(
            f"a report needs the package {' and '.join(map(repr, lacking))}, not installed here",
            hint=EXTRA,
        )


def render_report(material: ReportMaterial, title: str) -> str:
    """The whole page as HTML; equal material gives equal text.

    Raises UsageError when Plotly or Jinja is not installed.
    """
    require_report_packages()
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    templates.filters["plain"] = plain
    plotly, packed = _plotly()
    script = _script()
    document = content(material)
    tables, refusals = overview_tables([entry.loaded for entry in material.results])
    records = [entry.loaded.record for entry in material.results]
    return templates.get_template("page.html").render(
        title=plain(title),
        version=__version__,
        policy=_policy(script, plotly),
        style=_read("style.css"),
        script=script,
        document=json_in_html(document),
        plotly=packed,
        tables=tables,
        refusals=[plain(text) for text in refusals],
        results=[
            {
                "name": shown["name"],
                "record": record,
                "path": plain(str(entry.loaded.path)),
                "command": command_of(record),
                "sections": provenance(record),
            }
            for entry, shown, record in zip(
                material.results, document["results"], records, strict=True
            )
        ],
        warnings=_by_warning(document["results"]),
        metrics={name: described(name) for record in records for name in record.metrics},
    )


def overview_tables(
    records: Sequence[LoadedRecord],
) -> tuple[list[ResultTable], list[str]]:
    """The tables at the head of the page, and why some results have tables of their own.

    Partial records are shown and marked. Results that cannot be compared get a table each.
    """
    tables: list[ResultTable] = []
    refusals: list[str] = []
    for group in group_by_protocol(records):
        try:
            tables += build_tables(group, partial=True)
        except VclipError as error:
            refusals.append(str(error))
            tables += [table for loaded in group for table in build_tables([loaded], partial=True)]
    return tables, refusals


def _by_warning(results: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Each warning once, with the names of the results that it holds for."""
    found: dict[str, list[str]] = {}
    for result in results:
        for warning in result["warnings"]:
            found.setdefault(warning, []).append(result["name"])
    return found


def json_in_html(value: Any) -> str:
    """JSON for a script element: without characters that could end the element or open another."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_UNSAFE)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _script() -> str:
    """All scripts as one, in one function scope."""
    parts = "\n".join(_read(f"scripts/{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


@cache
def _plotly() -> tuple[str, str]:
    """Plotly's script, and the same packed: gzip in base64."""
    from plotly.offline import get_plotlyjs

    script = str(get_plotlyjs())
    return script, base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode("ascii")


def _policy(*scripts: str) -> str:
    """No request, and no script but these. Styles are free: Plotly sets them as it draws."""
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
