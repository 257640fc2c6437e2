"""The training and test lists of a protocol for a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vclip_cli.common.errors import DataError, UsageError, require_known
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.draws import candidate_classes, select
from vclip_cli.data.manifest import has_split
from vclip_cli.data.protocol import ANY_DATASET, Entry, Protocol
from vclip_cli.data.split import Rule, Split, build_split, read_listed, with_paths

VALIDATION = "validation"


@dataclass(frozen=True, eq=False)
class TestSet:
    """One list of videos to score, and the candidate classes.

    rows: columns `video, path, class`, one row per video and label; `path` is empty when absent,
    `class` for a video without labels. classes: the candidates in order. listed: the split that the
    rows are, with its provenance.
    """

    __test__ = False  # pytest takes classes that begin with Test for its own

    dataset: str
    split: str
    part: str | None
    rows: pd.DataFrame
    classes: tuple[str, ...]
    multi_label: bool
    listed: Split

    @property
    def name(self) -> str:
        """`dataset/split`, or `dataset/split/part`."""
        return "/".join(filter(None, (self.dataset, self.split, self.part)))

    @property
    def split_sha256(self) -> str:
        """The hash of the list."""
        return self.listed.sha256

    @property
    def manifest_sha256(self) -> str:
        """The hash of the manifest that the list was made from."""
        return self.listed.provenance.manifest_sha256


def protocol_tests(
    protocol: Protocol,
    dataset: Dataset,
    *,
    splits: Iterable[str] | None = None,
    subset: str | None = None,
) -> list[TestSet]:
    """The test sets of a protocol for a dataset, in the protocol's order.

    splits: only those, by split, part, `split/part` or whole name; optional ones are tested only if
    named here. A name that ends in .csv is a split file, tested as it stands. subset: only the part
    of that name, or else only the classes of that subset of the label set. Raises UsageError for
    lists that the protocol does not have, DataError where the dataset lacks a split.
    """
    _require_kind(protocol, dataset)
    entries = _entries(protocol, protocol.test, dataset, "tests on")
    files: list[Path] = []
    if splits is None:
        chosen = [entry for entry in entries if not entry.optional]
    else:
        wanted = list(splits)
        files = [Path(name) for name in wanted if name.endswith(".csv")]
        chosen = _chosen(entries, [name for name in wanted if not name.endswith(".csv")], dataset)
    parts = [entry for entry in chosen if entry.part == subset]
    if subset is not None and parts:
        chosen, subset = parts, None
    tests = [_test_set(protocol, dataset, entry, subset) for entry in chosen]
    return tests + [_listed_test(dataset, path) for path in files]


def protocol_validation(
    protocol: Protocol, dataset: Dataset, tests: Sequence[TestSet]
) -> TestSet | None:
    """The set that thresholds are chosen on: the split `validation`, with the training's labels.

    None where the dataset has no such split, or a test shares videos with it.
    """
    if not has_split(dataset.manifest, VALIDATION):
        return None
    classes = None
    if trains_on(protocol, dataset):
        classes = _entries(protocol, protocol.train, dataset, "trains on")[0].classes
    entry = Entry(dataset=ANY_DATASET, split=[VALIDATION], classes=classes)
    found = _test_set(protocol, dataset, entry, None)
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
    instead, such as an imported published list. Raises UsageError when the protocol does not train
    on this dataset, or shots are missing or have no effect, DataError when a class has too few
    videos.
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
    rule = _rule(entry, dataset).model_copy(update={"nested": nested})
    if rule.name == "official":
        if shots is not None or nested:
            raise UsageError(
                f"the protocol {protocol.name!r} trains on the whole of {rule.split!r}",
                found="--nested" if shots is None else f"--shots {shots}",
            )
        seed = None
    else:
        published = training_shots(protocol, dataset)
        if shots is None and len(published) != 1:
            raise UsageError(
                "the number of training videos per class is missing",
                expected="--shots " + "|".join(map(str, published)),
            )
        shots = published[0] if shots is None else shots
        if seed is None:
            seed = protocol.seeds[0] if protocol.seeds else 0
    if nested and rule.name != "few-shot":
        raise UsageError("--nested is for few-shot draws; this one repeats a published draw")
    selection = select(dataset, rule, shots=shots, seed=seed)
    split = build_split(
        dataset,
        selection.rows,
        rule,
        "train" if entry.part is None else f"train {entry.part}",
        shots=shots,
        seed=seed,
        protocol=protocol.reference,
        remarks=selection.remarks,
    )
    return split, selection.classes


def trains_on(protocol: Protocol, dataset: Dataset) -> bool:
    """Whether the protocol has a training list for the dataset."""
    return any(entry.dataset in _names_of(dataset) for entry in protocol.train)


def training_shots(protocol: Protocol, dataset: Dataset) -> list[int]:
    """The published numbers of training videos per class; empty if all videos are used."""
    entry = _entries(protocol, protocol.train, dataset, "trains on")[0]
    if entry.draw == "official":
        return []
    return list(entry.shots if entry.shots is not None else protocol.shots)


def _require_kind(protocol: Protocol, dataset: Dataset) -> None:
    kind = "multi-label" if dataset.manifest.multi_label else "single-label"
    if kind != protocol.kind:
        raise UsageError(
            f"the protocol {protocol.name!r} is for {protocol.kind} datasets",
            found=f"{dataset.config.name!r}, which is {kind}",
            hint="see: vclip protocols",
        )


def _names_of(dataset: Dataset) -> list[str]:
    """The names that an entry may give the dataset: its own, its label set's, or that of any."""
    return list(dict.fromkeys((dataset.config.name, dataset.label_set.name, ANY_DATASET)))


def _entries(
    protocol: Protocol, entries: Sequence[Entry], dataset: Dataset, verb: str
) -> list[Entry]:
    """The entries for this dataset: by its name, by its label set's name, or those for any.

    Returns the first of these groups that names a split of the dataset. A copy registered as plain
    class folders lacks the official splits, and is treated like any other folder of videos.
    """
    is_open = {"seen", "unseen"} <= set(dataset.label_set.subsets)
    fitting = [entry for entry in entries if entry.open_vocabulary in (None, is_open)]
    groups = [[e for e in fitting if e.dataset == name] for name in _names_of(dataset)]
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


def _chosen(entries: Sequence[Entry], wanted: Sequence[str], dataset: Dataset) -> list[Entry]:
    """The entries that are named on the command line, by any of their names."""
    names = []
    for entry in entries:
        split = _first_split(entry, dataset) or entry.split[0]
        short = split if entry.part is None else f"{split}/{entry.part}"
        names.append({split, entry.part or split, short, f"{dataset.config.name}/{short}"})
    known = sorted(set().union(*names))
    for name in wanted:
        require_known(name, known, f"the protocol has no test split {name!r}")
    return [entry for entry, own in zip(entries, names, strict=True) if own & set(wanted)]


def _rule(entry: Entry, dataset: Dataset) -> Rule:
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
            "split": _first_split(entry, dataset) or entry.split[0],
            "subset": entry.classes,
            "half": entry.part if halves is not None else None,
            "halves": halves,
            "counted_in": counted_in,
        }
    )


def _test_set(protocol: Protocol, dataset: Dataset, entry: Entry, subset: str | None) -> TestSet:
    """The test set of an entry; subset: classes of the label set to restrict it to."""
    rule = _rule(entry, dataset)
    if subset is not None:
        rule = rule.model_copy(update={"subset": subset, "half": None, "halves": None})
    selection = select(dataset, rule)
    part, split = entry.part or subset, str(rule.split)
    listed = build_split(
        dataset,
        selection.rows,
        rule,
        (split if part is None else f"{split} {part}").replace("/", " "),
        protocol=protocol.reference,
        remarks=selection.remarks,
    )
    return TestSet(
        dataset=dataset.config.name,
        split=split,
        part=part,
        rows=selection.rows,
        classes=selection.classes,
        multi_label=dataset.manifest.multi_label,
        listed=listed,
    )


def _listed_test(dataset: Dataset, path: Path) -> TestSet:
    listed = read_listed(path, dataset)
    return TestSet(
        dataset=dataset.config.name,
        split=path.stem,
        part=listed.provenance.rule.subset,
        rows=with_paths(listed, dataset),
        classes=listed_classes(listed, dataset, training=False),
        multi_label=dataset.manifest.multi_label,
        listed=listed,
    )


def listed_classes(split: Split, dataset: Dataset, *, training: bool) -> tuple[str, ...]:
    """The classes that a split covers, in order: those of its rule.

    For an imported list without a subset: all classes of the label set, or in training the classes
    that occur.
    """
    rule = split.provenance.rule
    classes, _ = candidate_classes(dataset, rule)
    if training and rule.name == "imported" and rule.subset is None:
        occurring = set(split.rows["class"])
        classes = [name for name in classes if name in occurring]
    return tuple(classes)
