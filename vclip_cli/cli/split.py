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
    from collections.abc import Sequence

    from vclip_cli.data.dataset import Dataset
    from vclip_cli.data.protocol import Protocol
    from vclip_cli.data.split import SharedVideos, Split

DIFFERS = 6


@options.takes("split")
def split(
    dataset: Annotated[
        str | None, typer.Argument(help="A registered dataset, or toy.", show_default=False)
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
        typer.Option("--from-labels", help="The names behind the imported list's numbers."),
    ] = None,
    part: Annotated[
        str, typer.Option("--part", help="What the imported list is: train, test, …")
    ] = "train",
    subset: Annotated[
        str | None,
        typer.Option("--subset", help="The imported list is about this subset of the classes."),
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
        typer.Option("--verify", help="Make a split file again and compare; exit code 6 if other."),
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    **settings: Any,
) -> None:
    """Write the training and test lists of a protocol for a dataset, each a CSV with provenance.

    Example:  vclip split hmdb51 --protocol few-shot --shots 16 --seed 1
    """
    protocol, shots, seed = settings["protocol"], settings["shots"], settings["seed"]
    allow_overlap, out = settings["allow_overlap"], settings["out"]
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
    from vclip_cli.data.protocol import load_protocol
    from vclip_cli.data.split import marked
    from vclip_cli.engine.loading.datasets import open_dataset

    opened = open_dataset(dataset)
    chosen = load_protocol(protocol) if protocol is not None else None
    if from_list is not None:
        if shots is not None or nested:
            raise UsageError("an imported list is not drawn: leave out --shots and --nested")
        training, tests = _import(opened, chosen, from_list, from_labels, part, subset)
    elif chosen is None or from_labels is not None or subset is not None:
        missing = "--protocol" if chosen is None else "--from-list"
        raise UsageError(f"{missing} is missing", hint="see: vclip protocols, vclip split --help")
    else:
        training, tests = _plan(opened, chosen, shots, seed, nested)
    overlaps = _guard(opened, training, tests, against or [], allow_overlap)
    parts = [*([marked(training, overlaps)] if training is not None else []), *tests]
    group = chosen.name if chosen is not None else "imported"
    folder = (out or Path("splits")) / opened.config.name / group
    _write(folder, parts, opened, chosen, overlaps, from_list, as_json)


def _import(
    dataset: Dataset,
    protocol: Protocol | None,
    from_list: Path,
    from_labels: Path | None,
    part: str,
    subset: str | None,
) -> tuple[Split, list[Split]]:
    """The imported list, and where it is for training the protocol's test lists."""
    from vclip_cli.data.imported import import_split
    from vclip_cli.data.protocol_lists import protocol_tests

    listed = import_split(
        dataset,
        from_list,
        labels_file=from_labels,
        part=part,
        subset=subset,
        protocol=protocol.reference if protocol else None,
    )
    trains = part.split()[:1] == ["train"]
    tests = protocol_tests(protocol, dataset) if protocol is not None and trains else []
    return listed, [test.listed for test in tests]


def _plan(
    dataset: Dataset, protocol: Protocol, shots: int | None, seed: int | None, nested: bool
) -> tuple[Split | None, list[Split]]:
    """The protocol's training list, None where it has none for the dataset, and its test lists."""
    from vclip_cli.data.protocol_lists import protocol_tests, protocol_training, trains_on

    tests = [test.listed for test in protocol_tests(protocol, dataset)]
    if not trains_on(protocol, dataset):
        if shots is not None or nested:
            raise UsageError(
                f"the protocol {protocol.name!r} does not train on {dataset.config.name!r}",
                found="--nested" if shots is None else f"--shots {shots}",
            )
        return None, tests
    training, _ = protocol_training(protocol, dataset, shots=shots, seed=seed, nested=nested)
    return training, tests


def _guard(
    dataset: Dataset,
    training: Split | None,
    tests: Sequence[Split],
    against: Sequence[str],
    allowed: bool,
) -> list[SharedVideos]:
    """Refuse overlaps of the training list with the protocol's tests and with `--against`."""
    from vclip_cli.data.manifest import official_split
    from vclip_cli.data.split import check_overlap, read_split

    if training is None:
        if against:
            raise UsageError("--against compares a training list, and there is none here")
        return []
    lists = {test.provenance.part: test.rows["video"].tolist() for test in tests}
    for name in against:
        if name.endswith(".csv"):
            lists[name] = read_split(Path(name)).rows["video"].tolist()
        else:
            lists[name] = official_split(dataset.manifest, name)["video"].tolist()
    return check_overlap(training.rows["video"].tolist(), lists, allowed=allowed)


def _write(
    folder: Path,
    parts: Sequence[Split],
    dataset: Dataset,
    protocol: Protocol | None,
    overlaps: Sequence[SharedVideos],
    from_list: Path | None,
    as_json: bool,
) -> None:
    from rich.table import Table
    from rich.text import Text

    from vclip_cli.common.files import require_writable_folder
    from vclip_cli.data.split import describe_overlap, write_split

    require_writable_folder(folder)
    rows: list[dict[str, Any]] = []
    for entry in parts:
        facts = entry.provenance
        path = folder / f"{_file_name(entry, from_list)}.csv"
        write_split(entry, path)
        rows.append(
            {
                "path": str(path),
                "part": facts.part,
                "rule": facts.rule.model_dump(exclude_none=True),
                "shots": facts.shots,
                "seed": facts.seed,
                "videos": facts.videos,
                "classes": facts.classes,
                "sha256": facts.sha256,
                "remarks": facts.remarks,
            }
        )
    for overlap in overlaps:
        warn(f"allowed: {describe_overlap(overlap)}")
    for remark in dict.fromkeys(remark for row in rows for remark in row["remarks"]):
        warn(remark)
    if as_json:
        show_json(
            {
                "dataset": dataset.config.name,
                "protocol": protocol.reference.model_dump() if protocol else None,
                "manifest_sha256": dataset.manifest.sha256,
                "files": rows,
                "overlaps": [overlap.model_dump() for overlap in overlaps],
            }
        )
        return
    table = Table("part", "videos", "classes", "sha256", "file")
    for row in rows:
        cells = (row["part"], f"{row['videos']:,}", str(row["classes"]), row["sha256"][:12])
        table.add_row(*(Text(cell) for cell in (*cells, row["path"])))
    show(table)


def _file_name(entry: Split, from_list: Path | None) -> str:
    facts = entry.provenance
    words = "".join(c if c.isalnum() or c in "-+." else "_" for c in facts.part)
    if facts.rule.name == "imported" and from_list is not None:
        return f"{words}_{from_list.stem}"
    if facts.shots is None:
        return words
    return f"{words}_{facts.shots}-shot_seed-{facts.seed}" + "_nested" * facts.rule.nested


def _show_split(path: Path, as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from vclip_cli.common.files import sha256_bytes
    from vclip_cli.data.split import describe_overlap, read_split

    found = read_split(path, altered=True)
    facts = found.provenance
    altered = sha256_bytes(found.csv) != facts.sha256
    counts = found.rows.loc[found.rows["class"] != "", "class"].value_counts()
    per_class = {"fewest": int(counts.min()), "most": int(counts.max())} if len(counts) else {}
    if as_json:
        document = {"path": str(path), **facts.model_dump(mode="json")}
        show_json({**document, "altered": altered, "videos_per_class": per_class})
    else:
        table = Table("what", "value", show_header=False)
        rule = facts.rule.model_dump(exclude_none=True, exclude_defaults=True)
        values = {
            "dataset": facts.dataset,
            "part": facts.part,
            "protocol": f"{facts.protocol.name}, version {facts.protocol.version}"
            if facts.protocol
            else "none",
            "rule": ", ".join(f"{key} {value}" for key, value in rule.items()),
            "shots, seed": f"{facts.shots}, {facts.seed}" if facts.shots else "none",
            "imported": facts.imported.file if facts.imported else "no",
            "videos, classes": f"{facts.videos:,}, {facts.classes:,}",
            "videos a class": f"{per_class['fewest']} to {per_class['most']}" if per_class else "",
            "sha256": facts.sha256,
            "written by": f"vclip {facts.vclip_version}",
        }
        for key, value in values.items():
            table.add_row(key, Text(str(value)))
        show(table)
        for remark in facts.remarks:
            say(remark)
    for overlap in facts.overlaps_allowed:
        warn(f"allowed: {describe_overlap(overlap)}")
    if altered:
        warn("the rows were altered after the split was written")


def _verify(path: Path, from_list: Path | None, from_labels: Path | None, as_json: bool) -> None:
    from vclip_cli.data.split import read_split
    from vclip_cli.data.verify import verify_split
    from vclip_cli.engine.loading.datasets import open_dataset

    found = read_split(path, altered=True)
    dataset = open_dataset(found.provenance.dataset)
    result = verify_split(found, dataset, list_file=from_list, labels_file=from_labels)
    if as_json:
        show_json(
            {
                "path": str(path),
                "matches": result.matches,
                "differences": list(result.differences),
                "remarks": list(result.remarks),
            }
        )
    elif result.matches:
        show(f"matches: {shlex.quote(str(path))}, {found.provenance.videos:,} videos")
    else:
        show("\n".join([f"differs: {shlex.quote(str(path))}", *result.differences]))
    for remark in result.remarks:
        say(remark)
    if not result.matches:
        raise typer.Exit(DIFFERS)
