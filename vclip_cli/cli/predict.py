"""`vclip predict`: ranked labels for any video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, show, show_error, show_json
from vclip_cli.common.errors import DataError, UsageError

if TYPE_CHECKING:
    from vclip_cli.data.label_set import LabelSet
    from vclip_cli.engine.predict import RankedLabels

Videos = Annotated[list[Path], typer.Argument(help="Video files.", metavar="VIDEO...")]
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
        help="A probability for each label by itself, or one distribution over all of them."
        " Default: as the checkpoint was trained.",
    ),
]
Single = Annotated[
    bool, typer.Option("--allow-single-frame", help="Take still images under a video's name.")
]


def predict(
    videos: Videos,
    labels: Labels = None,
    label_embeddings: options.LabelEmbeddings = None,
    method: options.Method = None,
    backbone: options.Backbone = None,
    pretrained: options.Pretrained = None,
    checkpoint: options.Checkpoint = None,
    template: options.Templates = None,
    text: options.TextVariant = None,
    frames: options.Frames = None,
    clips: options.Clips = None,
    crops: options.Crops = None,
    decoder: options.Decoder = "exact",
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    workers: options.Workers = None,
    video_timeout: options.VideoTimeout = 300.0,
    limit_memory: options.LimitMemory = None,
    top: Top = 5,
    multi_label: Several = None,
    allow_single_frame: Single = False,
    cache: options.Cache = True,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Rank labels for each video.

    Example:  vclip predict clip.mp4 --labels "pour,push up,ride bike" --method clip
    """
    from vclip_cli.engine.encoding.devices import known_precision, pick_device
    from vclip_cli.engine.encoding.embedding_store import embedding_store
    from vclip_cli.engine.encoding.model import MethodRequest, load_method
    from vclip_cli.engine.encoding.scoring import Computing
    from vclip_cli.engine.encoding.settings import ViewRequest, read_templates, resolve_settings
    from vclip_cli.engine.evaluation.calibration import own_probability, trained_probability
    from vclip_cli.engine.loading.workers import Guard
    from vclip_cli.engine.predict import predict_videos

    for path in videos:
        if not path.exists():
            raise DataError("no such video", where=str(path))
    label_set = _vocabulary(labels, label_embeddings)
    guard = Guard(workers, video_timeout, limit_memory)
    computing = Computing(pick_device(device), known_precision(precision), 1, guard)
    loaded = load_method(MethodRequest(method, backbone, pretrained, checkpoint))
    asked = ViewRequest(frames, clips, crops, read_templates(template), text, decoder)
    settings = resolve_settings(
        loaded.adapter, asked, loaded.stated_views(), allow_single=allow_single_frame
    )
    per_label = trained_probability(loaded)
    if multi_label is not None:
        per_label = own_probability(loaded) if multi_label else None
    store = None
    if cache:
        store = embedding_store(loaded.adapter, settings.reading, precision, computing.device.type)
    results = predict_videos(
        loaded,
        videos,
        label_set,
        settings.reading,
        computing,
        variant=settings.text,
        templates=settings.templates,
        top=top,
        per_label=per_label,
        label_embeddings=label_embeddings,
        store=store,
        progress=progress,
    )
    if as_json:
        document = {
            "method": loaded.describe(),
            "probabilities": vars(per_label) if per_label is not None else "softmax",
            "frames": settings.reading.sampling.frames,
            "templates": list(settings.templates),
            "predictions": [_document(result) for result in results],
        }
        show_json(document)
    else:
        for result in results:
            _show(result)
    failed = [result.error for result in results if result.error is not None]
    for error in failed:
        show_error(error)
    if failed:
        raise typer.Exit(failed[0].exit_code)


def _vocabulary(labels: str | None, label_embeddings: Path | None) -> LabelSet:
    """The labels that were named, or all that the file of embeddings holds."""
    from vclip_cli.data.label_set import label_set_of, read_labels

    if labels is not None:
        return read_labels(labels)
    if label_embeddings is None:
        raise UsageError("no label was given", hint='--labels "pour,push up,ride bike"')
    from vclip_cli.engine.encoding.label_embeddings import read_label_embeddings

    return label_set_of(read_label_embeddings(label_embeddings).labels, str(label_embeddings))


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
