"""Train and evaluate CLIP models adapted to video.

    import vclip_cli as vclip

    model = vclip.load_model("clip", backbone="toy")
    ranked = model.classify("clip.mp4", ["pour", "push up"])

The names below are loaded when they are first used: importing the package costs nothing.
`docs/python.md` shows them all at work.
"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; `typing` would double the time
if TYPE_CHECKING:
    from typing import Any

    from vclip_cli import errors
    from vclip_cli.data.protocol import list_protocols as protocols
    from vclip_cli.library.datasets import add_dataset, datasets, make_split
    from vclip_cli.library.functions import (
        dry_run,
        embed,
        estimate,
        evaluate,
        extract,
        load_model,
        predict,
        sweep,
        train,
        verify,
    )
    from vclip_cli.models.registry import list_methods as methods
    from vclip_cli.report.build import build_report as report
    from vclip_cli.results.table import table
    from vclip_cli.video import read_frames

__version__ = "0.2.0"

_ELSEWHERE = {
    **dict.fromkeys(("add_dataset", "datasets", "make_split"), ("vclip_cli.library.datasets", "")),
    "errors": ("vclip_cli.errors", None),
    "methods": ("vclip_cli.models.registry", "list_methods"),
    "protocols": ("vclip_cli.data.protocol", "list_protocols"),
    "read_frames": ("vclip_cli.video", "read_frames"),
    "report": ("vclip_cli.report.build", "build_report"),
    "table": ("vclip_cli.results.table", "table"),
}
_LIBRARY = "vclip_cli.library.functions"

__all__ = [
    "add_dataset",
    "datasets",
    "dry_run",
    "embed",
    "errors",
    "estimate",
    "evaluate",
    "extract",
    "load_model",
    "make_split",
    "methods",
    "predict",
    "protocols",
    "read_frames",
    "report",
    "sweep",
    "table",
    "train",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _ELSEWHERE.get(name, (_LIBRARY, name))
    found = import_module(module)
    return found if attribute is None else getattr(found, attribute or name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
