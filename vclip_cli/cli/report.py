"""`vclip report`: results as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vclip_cli.cli import options

LARGEST = 8_000_000


@options.takes("report")
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Records, or folders that hold them. Default: runs/.", metavar="RUN"),
    ] = None,
    title: Annotated[str | None, typer.Option("--title", help="The page's title.")] = None,
    thumbnails: Annotated[
        int,
        typer.Option(
            "--thumbnails",
            min=1,
            help="How many videos are shown one by one, over all results: the hardest ones, and"
            " others evenly over the classes.",
        ),
    ] = 2_000,
    no_frames: Annotated[
        bool, typer.Option("--no-frames", help="Leave out frames and attention.")
    ] = False,
    no_embedding: Annotated[
        bool,
        typer.Option(
            "--no-embedding", help="Leave out the map of the videos, which runs the model on them."
        ),
    ] = False,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            help="A checkpoint of the records, found by its content. May be repeated.",
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Write one HTML file that shows what the models do right and wrong; it opens from disk.

    Tables, per-class values, confusions, a map of the videos, the hardest videos with their frames,
    attention, calibration and provenance. What is missing (videos, weights) is left out, and the
    page says why.

    Example: vclip report runs/zero-shot/toy --out report.html
    """
    from vclip_cli.cli.console import progress, say, show, show_json, warn
    from vclip_cli.report.build import TITLE, build_report

    made = build_report(
        runs or "runs",
        settings["out"] or Path("report.html"),
        title=title or TITLE,
        thumbnails=thumbnails,
        frames=not no_frames,
        embedding=not no_embedding,
        checkpoints=checkpoints or [],
        device=settings["device"],
        batch_size=settings["batch_size"],
        workers=settings["workers"],
        progress=progress,
    )
    for reason in made.left_out:
        say(f"left out: {reason}")
    if made.bytes > LARGEST:
        warn(f"the page has {made.bytes / 1e6:.1f} MB; fewer --thumbnails make it smaller")
    if as_json:
        show_json(
            {
                "report": str(made.path),
                "bytes": made.bytes,
                "results": [str(path) for path in made.results],
                "left_out": list(made.left_out),
            }
        )
    else:
        noun = "result" if len(made.results) == 1 else "results"
        show(f"{made.path}: {len(made.results)} {noun}, {made.bytes / 1e6:.1f} MB")
