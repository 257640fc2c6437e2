"""What a record was made from, as it is now: protocol, dataset, lists, label texts, weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vclip_cli.common.errors import VclipError
from vclip_cli.common.files import sha256_bytes
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import TestSet, protocol_tests
from vclip_cli.data.split import read_split
from vclip_cli.engine.encoding.settings import class_prompts
from vclip_cli.engine.evaluation.plan import labels_of
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.verification.checks import (
    DIFFERS,
    MATCH,
    UNCHECKED,
    Check,
    Seen,
    compare_hashes,
    some,
)
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.record import Record
from vclip_cli.results.settings import test_set_of

if TYPE_CHECKING:
    from vclip_cli.data.dataset import Dataset

SEARCHED_LEVELS = 3
"""How many folders above a record its checkpoint is searched below."""
TRAINING_LIST = "train.csv"


def check_protocol(record: Record) -> tuple[list[Check], Protocol | None]:
    """Whether the protocol of that name is still the one that was followed."""
    stated = record.protocol
    named = str(record.config.get("protocol") or stated.name)
    try:
        protocol = load_protocol(named if Path(named).is_file() else stated.name)
    except VclipError as error:
        return [Check("protocol", UNCHECKED, str(error))], None
    if protocol.sha256 == stated.sha256:
        text = f"{stated.name}, version {stated.version} ({stated.sha256[:12]}…)"
        return [Check("protocol", MATCH, text)], protocol
    return [
        Check(
            "protocol",
            DIFFERS,
            f"{protocol.name}, version {protocol.version} ({protocol.sha256[:12]}…); the record"
            f" followed version {stated.version} ({stated.sha256[:12]}…)",
        )
    ], protocol


def check_dataset(
    record: Record, protocol: Protocol | None, predictions: Predictions | None
) -> list[Check]:
    """Manifest, label set, prompts and test list, as the dataset of that name has them now."""
    try:
        dataset = open_dataset(record.dataset.name)
    except VclipError as error:
        return [Check("dataset", UNCHECKED, str(error))]
    label_set = dataset.label_set
    return [
        compare_hashes("manifest", dataset.manifest.sha256, record.dataset.manifest_sha256),
        compare_hashes(
            "label set", label_set.sha256, record.dataset.label_set.sha256, label_set.name
        ),
        _check_prompts(record, dataset),
        *_check_list(record, dataset, protocol, predictions),
    ]


def _check_prompts(record: Record, dataset: Dataset) -> Check:
    prompts = record.prompts
    try:
        again = class_prompts(
            dataset.label_set,
            record.dataset.classes,
            prompts.text_variant or "natural",
            prompts.templates,
        )
    except VclipError as error:
        return Check("prompts", DIFFERS, f"cannot be made again: {error}")
    changed = [
        f"{name!r}: {now[0]!r} instead of {stated[0]!r}"
        for name, now, stated in zip(record.dataset.classes, again, prompts.texts, strict=True)
        if now != stated
    ]
    if changed:
        more = f"; and {len(changed) - 1:,} more" if len(changed) > 1 else ""
        return Check("prompts", DIFFERS, changed[0] + more)
    return Check("prompts", MATCH, f"of {len(again):,} classes")


def _check_list(
    record: Record,
    dataset: Dataset,
    protocol: Protocol | None,
    predictions: Predictions | None,
) -> list[Check]:
    if protocol is None:
        return [Check("test list", UNCHECKED, "the protocol is not known")]
    named = splits_of(record)
    gone = [name for name in named if name.endswith(".csv") and not Path(name).is_file()]
    if gone:
        return [Check("test list", UNCHECKED, f"the split file {gone[0]} is not here")]
    try:
        test = protocol_tests(protocol, dataset, splits=named)[0]
    except VclipError as error:
        return [Check("test list", DIFFERS, str(error))]
    checks = [compare_hashes("test list", test.split_sha256, record.dataset.split_sha256)]
    if set(test.classes) != set(record.dataset.classes):
        text = f"{len(test.classes)} candidates now, {len(record.dataset.classes)} in the record"
        checks.append(Check("classes", DIFFERS, text))
    if predictions is not None:
        checks.append(_check_labels(record, test, predictions))
    return checks


def splits_of(record: Record) -> list[str]:
    """How the record's one test set is named to a protocol: by its split file, or its name."""
    asked = record.config.get("split") or record.config.get("splits") or []
    split = record.dataset.split
    files = [name for name in asked if name.endswith(".csv") and Path(name).stem == split]
    return files[:1] or [test_set_of(record)]


def _check_labels(record: Record, test: TestSet, predictions: Predictions) -> Check:
    """Exactly the listed videos are scored or failed, with the labels that they are listed with."""
    labels = labels_of(test)
    handled = set(predictions.videos) | {failure.video for failure in record.failures}
    problems = []
    if foreign := sorted(handled - set(labels)):
        problems.append(f"not on the list: {some(foreign)}")
    if not record.partial and (missing := sorted(set(labels) - handled)):
        problems.append(f"neither scored nor failed: {some(missing)}")
    other = [
        video
        for video, names in zip(predictions.videos, predictions.labels, strict=True)
        if video in labels and set(labels[video]) != set(names)
    ]
    if other:
        problems.append(f"other labels: {some(other)}")
    if problems:
        return Check("listed videos", DIFFERS, "; ".join(problems))
    return Check("listed videos", MATCH, "the listed videos, with the labels of the list")


def check_backbone(record: Record, seen: Seen, pretrained: str | None = None) -> Check:
    """Whether the weights of that name are those that were used; loads them.

    pretrained: where they lie now, None for the record's own tag or file.
    """
    stated = record.backbone
    try:
        found = seen.backbone_sha256(stated.name, pretrained or stated.pretrained)
    except VclipError as error:
        return Check("backbone weights", UNCHECKED, str(error))
    name = f"{stated.name} ({pretrained or stated.pretrained or 'its own weights'})"
    return compare_hashes("backbone weights", found, stated.weights_sha256, name)


def check_checkpoint(
    record: Record, path: Path, named: Path | None, seen: Seen
) -> tuple[list[Check], Path | None]:
    """The checkpoint that was named, or one of that hash near the record; and its training list."""
    stated = record.adapter.checkpoint_sha256
    if stated is None:
        if named is not None:
            text = f"the record was made without one, and {named} was named"
            return [Check("checkpoint", DIFFERS, text)], None
        return [], None
    if named is not None:
        check = compare_hashes("checkpoint", seen.file_sha256(named), stated, str(named))
        return [check, *_check_training_list(named)], named
    found = find_checkpoint(path, stated, seen)
    if found is None:
        text = f"none of sha256 {stated[:12]}… lies near the record: name it with --checkpoint"
        return [Check("checkpoint", UNCHECKED, text)], None
    check = compare_hashes("checkpoint", stated, stated, str(found))
    return [check, *_check_training_list(found)], found


def find_checkpoint(record_path: Path, sha256: str, seen: Seen) -> Path | None:
    """A checkpoint of that hash below the folders that the record lies in, the nearest first."""
    folders: Sequence[Path] = record_path.resolve().parents[: SEARCHED_LEVELS + 1]
    for folder in folders:
        for file in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*/*.safetensors")):
            if seen.file_sha256(file) == sha256:
                return file
    return None


def _check_training_list(checkpoint: Path) -> list[Check]:
    """The list beside a checkpoint against the hash that its header holds."""
    from vclip_cli.models.checkpoint import read_info

    file = checkpoint.with_name(TRAINING_LIST)
    if not file.is_file():
        return []
    try:
        stated = read_info(checkpoint).training.get("split_sha256")
        found = sha256_bytes(read_split(file, altered=True).csv)
    except VclipError as error:
        return [Check("training list", DIFFERS, str(error))]
    return [compare_hashes("training list", found, stated, str(file))]
