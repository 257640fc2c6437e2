"""From a protocol and a dataset to the very lists: what is tested, and what is trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, UsageError, did_you_mean
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.manifest import has_split
from vclip_cli.data.protocol import ANY_DATASET, Entry, Protocol
from vclip_cli.data.selection import (
    Selection,
    build_split,
    listed_classes,
    read_listed,
    select,
    with_paths,
)
from vclip_cli.data.split import Rule, Split

VALIDATION = "validation"


@dataclass(frozen=True, eq=False)
class TestSet:
    """One list of videos to score, and the candidate classes.

    name: `dataset/split` or `dataset/split/part`. rows: columns `video, path, class`, one row per
    video and label; `path` is empty when absent, `class` for a video without labels. classes: the
    candidates in order. listed: the split that the rows are, with its provenance.
    """

    __test__ = False  # pytest takes classes that begin with Test for its own

    dataset: str
    split: str
    part: str | None
    name: str
    rows: pd.DataFrame
    classes: tuple[str, ...]
    multi_label: bool
    split_sha256: str
    manifest_sha256: str
    label_set_sha256: str
    listed: Split


def protocol_tests(
    protocol: Protocol,
    dataset: Dataset,
    *,
    splits: Iterable[str] | None = None,
    subset: str | None = None,
) -> list[TestSet]:
    """The test sets of a protocol for a dataset, in the protocol's order.

    splits: only those, by split, part, `split/part` or whole name; this is how optional ones are
    asked for. A name that ends in .csv is a split file, tested as it stands. subset: only the part
    of that name, or else only the classes of that subset of the label set. Raises UsageError for
    what the protocol does not have, DataError where the dataset lacks a split.
    """
    _require_kind(protocol, dataset)
    entries = _entries(protocol, protocol.test, dataset, "tests on")
    wanted = list(splits) if splits is not None else None
    files: list[Path] = []
    if wanted is None:
        chosen = [entry for entry in entries if not entry.optional]
    else:
        files = [Path(name) for name in wanted if name.endswith(".csv")]
        named = [name for name in wanted if not name.endswith(".csv")]
        chosen = _chosen(entries, named, dataset)
    parts = [entry for entry in chosen if entry.part == subset]
    if subset is not None and parts:
        chosen, subset = parts, None
    tests = []
    for entry in chosen:
        rule = _rule(entry, dataset)
        if subset is not None:
            rule = rule.model_copy(update={"subset": subset, "half": None, "halves": None})
        tests.append(_test_set(protocol, dataset, entry, rule, subset))
    return tests + [_listed_test(dataset, path) for path in files]


def protocol_validation(
    protocol: Protocol, dataset: Dataset, tests: Sequence[TestSet]
) -> TestSet | None:
    """The part that thresholds are chosen on: the split `validation`, with the training's labels.

    None where the dataset has no such split, or a test shares videos with it.
    """
    if not has_split(dataset.manifest, VALIDATION):
        return None
    classes = None
    if trains_on(protocol, dataset):
        classes = _entries(protocol, protocol.train, dataset, "trains on")[0].classes
    entry = Entry(dataset=ANY_DATASET, split=[VALIDATION], classes=classes)
    found = _test_set(protocol, dataset, entry, _rule(entry, dataset), None)
    videos = set(found.rows["video"])
    shared = any(not videos.isdisjoint(test.rows["video"]) for test in tests)
    return None if shared else found


def protocol_training(
    protocol: Protocol,
    dataset: Dataset,
    *,
    shots: int | None = None,
    seed: int | None = None,
    nested: bool = False,
    listed: Path | None = None,
) -> tuple[Split, tuple[str, ...]]:
    """The training split of a protocol for a dataset, and the training classes in order.

    shots, seed: the protocol's only or first one where None. listed: a split file to train on
    instead, such as an imported published list. Raises UsageError when the protocol
    does not train on this dataset, or shots are missing or meaningless, DataError when a class has
    too few videos.
    """
    _require_kind(protocol, dataset)
    if listed is not None:
        if shots is not None or nested:
            raise UsageError("a split file is not drawn: leave out --shots and --nested")
        split = read_listed(listed, dataset)
        return split, listed_classes(split, dataset, training=True)
    entries = _entries(protocol, protocol.train, dataset, "trains on")
    if len(entries) != 1:
        raise UsageError(
            f"the protocol {protocol.name!r} has {len(entries)} training lists for one dataset",
            where=dataset.config.name,
        )
    entry = entries[0]
    rule = _rule(entry, dataset)
    if rule.name == "official":
        if shots is not None or nested:
            raise UsageError(
                f"the protocol {protocol.name!r} trains on the whole of {rule.split!r}",
                found="--nested" if shots is None else f"--shots {shots}",
            )
        seed = None
    else:
        shots, seed = _draw_values(protocol, entry, shots, seed)
    if nested and rule.name != "few-shot":
        raise UsageError("--nested is for few-shot draws; this one repeats a published draw")
    rule = rule.model_copy(update={"nested": nested})
    selection = select(dataset, rule, shots=shots, seed=seed)
    split = build_split(
        dataset,
        selection.rows,
        rule,
        training_part(entry),
        shots=shots,
        seed=seed,
        protocol=protocol.reference,
        remarks=selection.remarks,
    )
    return split, selection.classes


def trains_on(protocol: Protocol, dataset: Dataset) -> bool:
    """Whether the protocol has a training list for the dataset."""
    names = {dataset.config.name, dataset.label_set.name, ANY_DATASET}
    return any(entry.dataset in names for entry in protocol.train)


def training_part(entry: Entry) -> str:
    """What the training list of an entry is called: `train`, or `train base`."""
    return "train" if entry.part is None else f"train {entry.part}"


def _draw_values(
    protocol: Protocol, entry: Entry, shots: int | None, seed: int | None
) -> tuple[int, int]:
    published = entry.shots if entry.shots is not None else protocol.shots
    if shots is None:
        if len(published) != 1:
            raise UsageError(
                "the number of training videos a class is missing",
                expected="--shots " + "|".join(str(number) for number in published),
            )
        shots = published[0]
    if seed is None:
        seed = protocol.seeds[0] if protocol.seeds else 0
    return shots, seed


def _require_kind(protocol: Protocol, dataset: Dataset) -> None:
    kind = "multi-label" if dataset.manifest.multi_label else "single-label"
    if kind != protocol.kind:
        raise UsageError(
            f"the protocol {protocol.name!r} is for {protocol.kind} datasets",
            found=f"{dataset.config.name!r}, which is {kind}",
            hint="see: vclip protocols",
        )


def _entries(
    protocol: Protocol, entries: Sequence[Entry], dataset: Dataset, verb: str
) -> list[Entry]:
    """The entries for this dataset: by its name, by its label set's name, or those for any.

    Of these the first group of which the dataset has a split at all: a copy that was registered as
    plain class folders lacks the official splits, and is treated as anybody's own videos.
    """
    groups = [
        [entry for entry in entries if entry.dataset == name]
        for name in dict.fromkeys((dataset.config.name, dataset.label_set.name, ANY_DATASET))
    ]
    is_open = {"seen", "unseen"} <= set(dataset.label_set.subsets)
    groups = [
        [entry for entry in group if entry.open_vocabulary in (None, is_open)] for group in groups
    ]
    groups = [group for group in groups if group]
    if not groups:
        known = list(dict.fromkeys(entry.dataset for entry in entries))
        raise UsageError(
            f"the protocol {protocol.name!r} {verb} {', '.join(known) or 'nothing'},"
            f" not on {dataset.config.name!r}",
            hint="see: vclip protocols " + protocol.name,
        )
    for group in groups:
        if any(_first_split(entry, dataset) for entry in group if not entry.optional):
            return group
    wanted = dict.fromkeys(name for entry in groups[0] for name in entry.split)
    raise DataError(
        f"the protocol {protocol.name!r} {verb} splits that {dataset.config.name!r} does not have",
        found=", ".join(dataset.manifest.splits) or "no split at all",
        expected=", ".join(wanted),
        hint="add the missing lists to the annotations, or sort your own videos into the folders"
        " train/ and test/",
    )


def _first_split(entry: Entry, dataset: Dataset) -> str | None:
    return next((name for name in entry.split if has_split(dataset.manifest, name)), None)


def _names(entry: Entry, dataset: Dataset) -> set[str]:
    """All the ways to name a test list on the command line."""
    split = _first_split(entry, dataset) or entry.split[0]
    short = split if entry.part is None else f"{split}/{entry.part}"
    return {split, entry.part or split, short, f"{dataset.config.name}/{short}"}


def _chosen(entries: Sequence[Entry], wanted: Sequence[str], dataset: Dataset) -> list[Entry]:
    names = [_names(entry, dataset) for entry in entries]
    known = sorted(set().union(*names))
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"the protocol has no test split {name!r}", hint=did_you_mean(name, known)
            )
    return [entry for entry, own in zip(entries, names, strict=True) if own & set(wanted)]


def _rule(entry: Entry, dataset: Dataset) -> Rule:
    split = _first_split(entry, dataset) or entry.split[0]
    half = entry.part if entry.halves is not None else None
    halves = entry.halves
    if halves == "either":
        has_both = {"base", "novel"} <= set(dataset.label_set.subsets)
        halves = "subsets" if has_both else "training-counts"
    counted_in = None
    if halves == "training-counts":
        fitting = [name for name in entry.counted_in if has_split(dataset.manifest, name)]
        counted_in = (fitting or entry.counted_in)[0]
    return Rule.model_validate(
        {
            "name": entry.draw,
            "split": split,
            "subset": entry.classes,
            "half": half,
            "halves": halves,
            "counted_in": counted_in,
        }
    )


def _test_set(
    protocol: Protocol, dataset: Dataset, entry: Entry, rule: Rule, subset: str | None
) -> TestSet:
    selection: Selection = select(dataset, rule)
    part = entry.part or subset
    split = str(rule.split)
    short = split if part is None else f"{split}/{part}"
    listed = build_split(
        dataset,
        selection.rows,
        rule,
        short.replace("/", " "),
        protocol=protocol.reference,
        remarks=selection.remarks,
    )
    return _as_test_set(dataset, split, part, selection.rows, selection.classes, listed)


def _listed_test(dataset: Dataset, path: Path) -> TestSet:
    listed = read_listed(path, dataset)
    classes = listed_classes(listed, dataset, training=False)
    rows = with_paths(listed, dataset)
    return _as_test_set(dataset, path.stem, listed.provenance.rule.subset, rows, classes, listed)


def _as_test_set(
    dataset: Dataset,
    split: str,
    part: str | None,
    rows: pd.DataFrame,
    classes: tuple[str, ...],
    listed: Split,
) -> TestSet:
    short = split if part is None else f"{split}/{part}"
    return TestSet(
        dataset=dataset.config.name,
        split=split,
        part=part,
        name=f"{dataset.config.name}/{short}",
        rows=rows,
        classes=classes,
        multi_label=dataset.manifest.multi_label,
        split_sha256=listed.sha256,
        manifest_sha256=dataset.manifest.sha256,
        label_set_sha256=dataset.label_set.sha256,
        listed=listed,
    )


def training_shots(protocol: Protocol, dataset: Dataset) -> list[int]:
    """The published numbers of training videos a class; empty where all are trained on."""
    entry = _entries(protocol, protocol.train, dataset, "trains on")[0]
    if entry.draw == "official":
        return []
    return list(entry.shots if entry.shots is not None else protocol.shots)
