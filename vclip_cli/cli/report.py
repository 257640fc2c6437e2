"""`vclip report`: results as a page to look at, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options

if TYPE_CHECKING:
    from vclip_cli.report.material import ReportMaterial

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
            help="How many clips are shown one by one, over all results: the hardest ones, and"
            " others evenly over the classes.",
        ),
    ] = 2_000,
    no_frames: Annotated[
        bool, typer.Option("--no-frames", help="Leave out frames of the clips, and attention.")
    ] = False,
    no_embedding: Annotated[
        bool,
        typer.Option(
            "--no-embedding", help="Leave out the map of the clips, which runs the model on them."
        ),
    ] = False,
    checkpoints: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint",
            help="Where the checkpoint of a record lies now; found by content. May be repeated.",
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Write one HTML file that shows what the models do right and wrong; it opens from disk.

    Tables, per-class values, confusions, a map of the clips, the hardest clips with their frames,
    attention, calibration and provenance. What is not at hand (videos, weights) is left out, and
    the page says why.

    Example: vclip report runs/zero-shot/toy --out report.html
    """
    out = settings["out"]
    device = settings["device"]
    batch_size = settings["batch_size"]
    workers = settings["workers"]
    from vclip_cli.cli.console import progress, say, show, show_json, warn
    from vclip_cli.common.errors import UsageError, WeightsError
    from vclip_cli.common.files import require_writable_folder, write_text
    from vclip_cli.engine.specs import WorkerSpec
    from vclip_cli.report.gather import ReportRequest, gather
    from vclip_cli.report.page import render_report, require_report_packages
    from vclip_cli.results.collect import collect_records

    require_report_packages()
    path = out or Path("report.html")
    if path.is_dir() or not path.name:
        raise UsageError("the report goes to a file", where=str(path), found="a folder")
    for file in checkpoints or []:
        if not file.is_file():
            raise WeightsError("no such checkpoint", where=str(file))
    records = collect_records(runs or [Path("runs")])
    require_writable_folder(path.resolve().parent)
    request = ReportRequest(
        clips=thumbnails,
        frames=not no_frames,
        embedding=not no_embedding,
        checkpoints=tuple(checkpoints or ()),
        device=device,
        batch_size=batch_size,
        workers=WorkerSpec(workers),
    )
    material = gather(records, request, progress=progress)
    page = render_report(material, title or "What the models do right and wrong")
    write_text(path, page)
    size = len(page.encode())
    left_out = [] if material.frames is None else [material.frames.why]
    left_out += _left_out(material)
    for reason in dict.fromkeys(left_out):
        say(f"left out: {reason}")
    if size > LARGEST:
        warn(f"the page has {size / 1e6:.1f} MB; fewer --thumbnails make it smaller")
    if as_json:
        show_json(
            {
                "report": str(path),
                "bytes": size,
                "results": [str(loaded.path) for loaded in records],
                "left_out": list(dict.fromkeys(left_out)),
            }
        )
    else:
        noun = "result" if len(records) == 1 else "results"
        show(f"{path}: {len(records)} {noun}, {size / 1e6:.1f} MB")


def _left_out(material: ReportMaterial) -> list[str]:
    """Why parts of some results are missing."""
    from vclip_cli.report.material import Missing

    return [
        f"{entry.loaded.path.parent}: {name}: {part.why}"
        for entry in material.results
        for name, part in (
            ("predictions", entry.predictions),
            ("map", entry.embeddings),
            ("attention", entry.attention),
        )
        if isinstance(part, Missing) and not part.why.startswith("Left out")
    ]
