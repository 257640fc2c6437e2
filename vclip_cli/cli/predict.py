"""`vclip predict`: ranked labels for any video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, show, show_error, show_json

if TYPE_CHECKING:
    from vclip_cli.engine.predict import RankedLabels

Videos = Annotated[list[Path], typer.Argument(help="Video files.", metavar="VIDEO")]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", "-l", help="Labels with commas between; a label set; or a .txt or .yaml file."
    ),
]
Top = Annotated[int, typer.Option("--top", min=1, help="How many labels to show.")]
Several = Annotated[
    bool | None,
    typer.Option(
        "--multi-label/--single-label",
        help="Independent probabilities per label, or one distribution over all labels."
        " Default: as the checkpoint was trained.",
    ),
]


@options.takes("predict")
def predict(
    videos: Videos,
    labels: Labels = None,
    top: Top = 5,
    multi_label: Several = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Rank labels for each video.

    Example:  vclip predict clip.mp4 --labels "pour,push up,ride bike" --method clip
    """
    from vclip_cli.library import functions as library

    model, found = library.predict(
        videos,
        labels,
        top=top,
        multi_label=multi_label,
        progress=progress,
        **options.given(settings),
    )
    if as_json:
        probability = found.probability
        document = {
            "method": model.describe(),
            "probabilities": vars(probability) if probability is not None else "softmax",
            "frames": found.settings.reading.sampling.frames,
            "templates": list(found.settings.templates),
            "predictions": [_document(result) for result in found.videos],
        }
        show_json(document)
    else:
        for result in found.videos:
            _show(result)
    failed = [result.error for result in found.videos if result.error is not None]
    for error in failed:
        show_error(error)
    if failed:
        raise typer.Exit(failed[0].exit_code)


def _document(result: RankedLabels) -> dict[str, Any]:
    if result.error is not None:
        return {"video": result.video, "error": result.error.as_dict()}
    return {
        "video": result.video,
        "labels": [
            {"rank": rank, "label": label, "probability": probability}
            for rank, (label, probability) in enumerate(result.labels, start=1)
        ],
    }


def _show(result: RankedLabels) -> None:
    from rich.table import Table
    from rich.text import Text

    from vclip_cli.cli.console import printable

    if result.error is not None:
        return
    table = Table("rank", "label", "probability", title=Text(printable(result.video)))
    for rank, (label, probability) in enumerate(result.labels, start=1):
        table.add_row(str(rank), Text(printable(label)), f"{probability:.4f}")
    show(table)
