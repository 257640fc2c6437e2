"""`vclip demo`: an evaluation on the embedded benchmark, without a network."""

from __future__ import annotations

from typing import Any

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show_json


@options.takes("demo")
def demo(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Render tiny videos, evaluate a tiny CLIP on them without training, and show the results."""
    from vclip_cli.cli.evaluate import result_document, show_results
    from vclip_cli.library import functions as library

    out, asked = settings.pop("out"), options.given(settings)
    evaluated = []
    for dataset in ("toy-shapes", "toy"):
        folder = out / dataset if out is not None else None
        evaluated += library.evaluate("clip", dataset, out=folder, progress=progress, **asked)
    if as_json:
        show_json({"results": [result_document(entry) for entry in evaluated]})
        return
    show_results(evaluated)
    folder = out or "runs"
    hints = (
        (f"vclip table {folder}", "the same numbers as a table"),
        ("vclip split toy --protocol base-to-novel --seed 1", "splits with their provenance"),
        ("vclip data add mine --videos DIR", "your own videos, one folder a class"),
        ("vclip eval --protocol zero-shot --dataset mine", "CLIP on them"),
        ('vclip predict clip.mp4 --labels "pour,push up"', "ranked labels for one video"),
    )
    width = max(len(command) for command, _ in hints)
    say(
        "\nThe tiny CLIP was trained on stills: it knows the shapes, not their motions.\n"
        "What to try next:"
    )
    for command, what in hints:
        say(f"  {command:<{width}}  {what}")
