"""`vclip split`: write a protocol's lists, import lists, verify them. Never loads torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vclip_cli.cli import options
from vclip_cli.cli.console import say, show, show_json, warn
from vclip_cli.common.errors import UsageError

if TYPE_CHECKING:
    from vclip_cli.data.make_split import MadeSplit
    from vclip_cli.data.split import Split

DIFFERS = 6


@options.takes("split")
def split(
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="DATASET", help="A registered dataset, or toy.", show_default=False),
    ] = None,
    nested: Annotated[
        bool, typer.Option("--nested", help="The K-shot draw is the beginning of the 2K-shot one.")
    ] = False,
    from_list: Annotated[
        Path | None,
        typer.Option("--from-list", help="Import this list (any list format), by file names."),
    ] = None,
    from_labels: Annotated[
        Path | None,
        typer.Option("--from-labels", help="File with the class name of each number in the list."),
    ] = None,
    part: Annotated[
        str, typer.Option("--part", help="What the imported list is: train, test, …")
    ] = "train",
    subset: Annotated[
        str | None,
        typer.Option("--subset", help="The class subset that the imported list covers."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            help="Refuse a training list that shares videos with this official split or split file."
            " May be repeated.",
        ),
    ] = None,
    show_file: Annotated[
        Path | None, typer.Option("--show", help="Summarise a split file instead.")
    ] = None,
    verify_file: Annotated[
        Path | None,
        typer.Option(
            "--verify", help="Make a split file again and compare; exit code 6 if it differs."
        ),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Write the training and test lists of a protocol for a dataset, each a CSV with provenance.

    Example:  vclip split hmdb51 --protocol few-shot --shots 16 --seed 1
    """
    if show_file is not None or verify_file is not None:
        if dataset is not None or (show_file and verify_file):
            raise UsageError("--show and --verify take one split file and no dataset")
        if show_file is not None:
            _show_split(show_file, as_json)
        elif verify_file is not None:
            _verify(verify_file, from_list, from_labels, as_json)
        return
    if dataset is None:
        raise UsageError("no dataset was named", hint="vclip split DATASET --protocol P")
    from vclip_cli.library.datasets import make_split

    out = settings.pop("out") or Path("splits")
    made = make_split(
        dataset,
        nested=nested,
        from_list=from_list,
        from_labels=from_labels,
        part=part,
        subset=subset,
        against=against or (),
        **options.given(settings),
    )
    facts = made.splits[0].provenance
    name = facts.protocol.name if facts.protocol is not None else "imported"
    saved = made.save_all(out / facts.dataset / name)
    _show_made(made, saved, as_json)


def _show_made(made: MadeSplit, saved: dict[Path, Split], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    made_from = made.splits[0].provenance
    for overlap in made.overlaps:
        warn(f"allowed: {overlap}")
    for remark in dict.fromkeys(r for entry in made.splits for r in entry.provenance.remarks):
        warn(remark)
    if as_json:
        keys = ("part", "rule", "shots", "seed", "videos", "classes", "sha256", "remarks")
        show_json(
            {
                "dataset": made_from.dataset,
                "protocol": made_from.protocol.model_dump() if made_from.protocol else None,
                "manifest_sha256": made_from.manifest_sha256,
                "files": [
                    {"path": str(path), **_chosen_keys(entry, keys)}
                    for path, entry in saved.items()
                ],
                "overlaps": [overlap.model_dump() for overlap in made.overlaps],
            }
        )
        return
    table = Table("part", "videos", "classes", "sha256", "file")
    for path, entry in saved.items():
        facts = entry.provenance
        cells = (facts.part, f"{facts.videos:,}", str(facts.classes), facts.sha256[:12], str(path))
        table.add_row(*map(Text, cells))
    show(table)


def _chosen_keys(entry: Split, keys: tuple[str, ...]) -> dict[str, Any]:
    facts = entry.provenance.model_dump(mode="json")
    facts["rule"] = entry.provenance.rule.model_dump(exclude_none=True)
    return {key: facts[key] for key in keys}


def _show_split(path: Path, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from vclip_cli.data.split import read_split

    found = read_split(path, altered=True)
    facts = found.provenance
    few = found.videos_per_class()
    if as_json:
        counts = {"fewest": few[0], "most": few[1]} if few else {}
        facts_shown = {"path": str(path), **facts.model_dump(mode="json")}
        show_json({**facts_shown, "altered": found.altered, "videos_per_class": counts})
    else:
        table = Table("what", "value", show_header=False)
        rule = facts.rule.model_dump(exclude_none=True, exclude_defaults=True)
        protocol = facts.protocol
        values = {
            "dataset": facts.dataset,
            "part": facts.part,
            "protocol": f"{protocol.name}, version {protocol.version}" if protocol else "none",
            "rule": ", ".join(f"{key} {value}" for key, value in rule.items()),
            "shots, seed": f"{facts.shots}, {facts.seed}" if facts.shots else "none",
            "imported": facts.imported.file if facts.imported else "no",
            "videos, classes": f"{facts.videos:,}, {facts.classes:,}",
            "videos per class": f"{few[0]} to {few[1]}" if few else "",
            "sha256": facts.sha256,
            "written by": f"vclip {facts.vclip_version}",
        }
        for key, value in values.items():
            table.add_row(key, Text(str(value)))
        show(table)
        for remark in facts.remarks:
            say(remark)
    for overlap in facts.overlaps_allowed:
        warn(f"allowed: {overlap}")
    if found.altered:
        warn("the rows were altered after the split was written")


def _verify(path: Path, from_list: Path | None, from_labels: Path | None, as_json: bool) -> None:
    from vclip_cli.data.split import read_split
    from vclip_cli.data.verify import verify_split
    from vclip_cli.engine.loading.datasets import open_dataset

    found = read_split(path, altered=True)
    dataset = open_dataset(found.provenance.dataset)
    result = verify_split(found, dataset, list_file=from_list, labels_file=from_labels)
    if as_json:
        differences, remarks = list(result.differences), list(result.remarks)
        facts = {"path": str(path), "matches": result.matches}
        show_json({**facts, "differences": differences, "remarks": remarks})
    elif result.matches:
        show(f"matches: {shlex.quote(str(path))}, {found.provenance.videos:,} videos")
    else:
        show("\n".join([f"differs: {shlex.quote(str(path))}", *result.differences]))
    for remark in result.remarks:
        say(remark)
    if not result.matches:
        raise typer.Exit(DIFFERS)
