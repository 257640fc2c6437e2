"""The report as one call: records in, one HTML file out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from vclip_cli.common.errors import UsageError, WeightsError
from vclip_cli.common.files import require_writable_folder, write_text
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.report.material import Missing, ReportMaterial
from vclip_cli.report.page import render_report, require_report_packages
from vclip_cli.results.collect import Paths, collect_records

TITLE = "What the models do right and wrong"


@dataclass(frozen=True)
class Report:
    """A written page.

    bytes: its size; results: the records that it shows; left_out: the parts that are missing, with
    the reason.
    """

    path: Path
    bytes: int
    results: tuple[Path, ...]
    left_out: tuple[str, ...]


def build_report(
    runs: Paths = "runs",
    out: str | PathLike[str] = "report.html",
    *,
    title: str = TITLE,
    thumbnails: int = 2_000,
    frames: bool = True,
    embedding: bool = True,
    checkpoints: Sequence[str | PathLike[str]] = (),
    device: str = "auto",
    batch_size: int = 8,
    workers: int | None = None,
    progress: Progress = no_progress,
) -> Report:
    """Write one HTML file that shows what the models do right and wrong.

    runs: records, or folders that hold them. thumbnails: how many videos are shown one by one, over
    all results. frames: show frames and attention. embedding: show a map of the videos, which runs
    the model on them. checkpoints: files that may be the checkpoints of the records; found by
    content. What is missing (videos, weights) is left out, and the page says why. Raises UsageError
    where `out` is a folder or a package is missing, WeightsError for a checkpoint that does not
    exist, DataError when there is no record or predictions are not their record's.
    """
    require_report_packages()
    from vclip_cli.engine.specs import WorkerSpec
    from vclip_cli.report.gather import ReportRequest, gather

    path = Path(out)
    if path.is_dir() or not path.name:
        raise UsageError("the report goes to a file", where=str(path), found="a folder")
    files = tuple(map(Path, checkpoints))
    for file in files:
        if not file.is_file():
            raise WeightsError("no such checkpoint", where=str(file))
    records = collect_records(runs)
    require_writable_folder(path.resolve().parent)
    request = ReportRequest(
        videos=thumbnails,
        frames=frames,
        embedding=embedding,
        checkpoints=files,
        device=device,
        batch_size=batch_size,
        workers=WorkerSpec(workers),
    )
    material = gather(records, request, progress=progress)
    page = render_report(material, title)
    write_text(path, page)
    return Report(
        path,
        len(page.encode()),
        tuple(loaded.path for loaded in records),
        tuple(dict.fromkeys(_left_out(material))),
    )


def _left_out(material: ReportMaterial) -> list[str]:
    """Why parts of some results are missing, without those that were not asked for."""
    missing = [] if material.frames is None else [material.frames.why]
    for entry in material.results:
        for name, part in (
            ("predictions", entry.predictions),
            ("map", entry.embeddings),
            ("attention", entry.attention),
        ):
            if isinstance(part, Missing) and not part.why.startswith("Left out"):
                missing.append(f"{entry.loaded.path.parent}: {name}: {part.why}")
    return missing
