"""`vclip data`: register datasets, list them, and check what is on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import progress, say, show, show_json, warn
from vclip_cli.common.errors import UsageError, VclipError, examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vclip_cli.data.check import CheckReport
    from vclip_cli.data.dataset import Dataset

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Datasets: register, list and check them.",
)

_SHOWN = 5
DAMAGED = 4


@app.command("add", cls=options.GroupedCommand)
@options.takes("data add")
def add(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="Its name. hmdb51, ucf101, kinetics400, kinetics600, ssv2 and charades imply"
            " their label set.",
        ),
    ],
    videos: Annotated[
        Path | None, typer.Option("--videos", help="The folder of the video files, in any layout.")
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(
            "--annotations",
            help="The folder or file of the annotations: official files, or a list `path label`."
            " Without it the videos' class folders are taken.",
        ),
    ] = None,
    no_videos: Annotated[
        bool, typer.Option("--no-videos", help="Register the lists alone, to make splits.")
    ] = False,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels", help="A label set by name or .yaml file, or a .txt or .csv of class names."
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="The annotation format, if vclip does not recognise it."),
    ] = None,
    user: Annotated[
        bool, typer.Option("--user", help="For all your projects, not only for this one.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Register a dataset under a name, and build the list of its videos.

    Example:  vclip data add hmdb51 --videos DIR --annotations DIR
    """
    from vclip_cli.common.resources import list_yaml, shipped_folder
    from vclip_cli.data.check import describe_dataset
    from vclip_cli.data.dataset import add_dataset, list_datasets
    from vclip_cli.engine.loading.datasets import EMBEDDED

    if name in EMBEDDED:
        raise UsageError(f"the name {name!r} belongs to the embedded benchmark")
    if (videos is None) != no_videos:
        raise UsageError(
            "the videos are missing"
            if videos is None
            else "--videos and --no-videos exclude each other",
            hint="--videos DIR, or --no-videos for the lists alone",
        )
    known = name in list_datasets()
    dataset = add_dataset(
        name,
        videos=videos,
        annotations=annotations,
        format=format,
        label_set=labels,
        user=user,
        **settings,
    )
    document = describe_dataset(dataset, list_datasets()[name])
    if as_json:
        show_json(document)
    else:
        _show_summaries([document])
    say(f"{'registered again' if known else 'registered'}: {document['file']}")
    label_file = list_yaml("label_sets").get(dataset.config.label_set)
    if label_file is not None and label_file.parent != shipped_folder("label_sets"):
        say(f"its classes: {label_file}")
    _tell_differences(dataset)


@app.command("list")
def list_(
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """List the registered datasets."""
    from vclip_cli.data.check import describe_dataset
    from vclip_cli.data.dataset import list_datasets, load_dataset
    from vclip_cli.engine.loading.datasets import EMBEDDED, open_dataset

    rows: list[dict[str, Any]] = []
    for name, path in list_datasets().items():
        try:
            rows.append(describe_dataset(load_dataset(name), path))
        except VclipError as error:
            rows.append({"name": name, "file": str(path), "error": str(error)})
    rows += [describe_dataset(open_dataset(name)) for name in EMBEDDED]
    if as_json:
        show_json({"datasets": rows})
        return
    _show_summaries([row for row in rows if "error" not in row])
    for row in rows:
        if "error" in row:
            warn(f"{row['name']}: {row['error']}")


@app.command("check", cls=options.GroupedCommand)
@options.takes("data check")
def check(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A registered dataset, or toy.")],
    full: Annotated[
        bool, typer.Option("--full", help="Decode every frame, not only the first.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Check every listed video: is it there, readable, and not a duplicate.

    Exit code 4 when a listed video is missing, empty or cannot be decoded.
    Example:  vclip data check hmdb51 --json
    """
    workers = settings["workers"]
    video_timeout = settings["video_timeout"]
    limit_memory = settings["limit_memory"]
    from functools import partial

    from vclip_cli.data.check import check_dataset
    from vclip_cli.data.dataset import load_dataset
    from vclip_cli.engine.loading.datasets import EMBEDDED, open_dataset, prepare_videos
    from vclip_cli.engine.loading.videos import undecodable
    from vclip_cli.engine.specs import WorkerSpec

    if name in EMBEDDED:
        dataset = open_dataset(name)
        prepare_videos(name, set(dataset.manifest.rows["video"]), progress=progress)
    else:
        open_dataset(name)  # knows all names, for the near misses
        dataset = load_dataset(name, rescan=True)
    spec = WorkerSpec(workers, video_timeout, limit_memory)
    decoded = partial(undecodable, workers=spec, full=full)
    report = check_dataset(dataset, decoded, progress=progress)
    if as_json:
        show_json(report.as_dict())
    else:
        _show_report(report)
    if dataset.videos_root is None:
        say("registered without videos: only the lists were checked")
    if not report.sound:
        raise typer.Exit(DAMAGED)


def _show_summaries(rows: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("dataset", "format", "label set", "classes", "listed", "absent", "splits")
    for row in rows:
        splits = ", ".join(f"{name} {c['listed']:,}" for name, c in row["splits"].items())
        absent = "no videos" if row["absent"] is None else f"{row['absent']:,}"
        cells = (row["name"], row["format"], row["label_set"], str(row["classes"]))
        table.add_row(*(Text(cell) for cell in (*cells, f"{row['listed']:,}", absent, splits)))
    show(table)


def _tell_differences(dataset: Dataset) -> None:
    manifest = dataset.manifest
    if manifest.absent:
        warn(f"listed, but not on disk: {_some(manifest.absent)}")
    if manifest.unlisted:
        warn(f"on disk, but not listed: {_some(manifest.unlisted)}")
    for remark in manifest.remarks:
        say(remark)


def _show_report(report: CheckReport) -> None:
    from rich.table import Table
    from rich.text import Text

    splits = Table("split", "listed", "on disk", "classes")
    for name, counts in report.splits.items():
        splits.add_row(name, f"{counts.listed:,}", f"{counts.present:,}", f"{counts.classes:,}")
    show(splits)
    findings = Table("finding", "count", "examples")
    groups = [" = ".join(group) for group in report.duplicates]
    crossing = [" = ".join(group) for group in report.duplicates_across_splits]
    unreadable = [f"{path}: {reason}" for path, reason in report.unreadable.items()]
    other = [
        f"{path}: listed as {found.listed}, in the folder of {found.folder}"
        for path, found in report.mislabelled.items()
    ]
    for title, items in (
        ("listed, but not on disk", report.absent),
        ("on disk, but not listed", report.unlisted),
        ("empty files", report.empty),
        ("cannot be decoded", unreadable),
        ("same content", groups),
        ("same content in training and test", crossing),
        ("in another class's folder", other),
    ):
        findings.add_row(title, f"{len(items):,}", Text("\n".join(items[:_SHOWN])))
    show(findings)
    for remark in report.remarks:
        say(remark)


def _some(names: Sequence[str]) -> str:
    return f"{len(names):,} ({examples(names, _SHOWN)})"
