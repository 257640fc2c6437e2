"""Checks of a record's sources as they are now: protocol, dataset, lists, texts, weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from vclip_cli.common.errors import VclipError
from vclip_cli.common.files import sha256_bytes, sha256_file
from vclip_cli.data.dataset import Dataset
from vclip_cli.data.label_set import NATURAL
from vclip_cli.data.protocol import Protocol, load_protocol
from vclip_cli.data.protocol_lists import protocol_tests
from vclip_cli.data.split import read_split
from vclip_cli.engine.encoding.settings import class_prompts
from vclip_cli.engine.evaluation.plan import labels_of
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.verification.checks import DIFFERS, UNCHECKED, Subject, some
from vclip_cli.models.checkpoint import read_info
from vclip_cli.results.grouping import test_set_of
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.record import Record

SEARCHED_LEVELS = 3
"""How many folders above a record the search for its checkpoint goes."""
TRAINING_LIST = "train.csv"


def check_protocol(subject: Subject) -> Protocol | None:
    """Whether the protocol of that name is still the one that was followed; gives it."""
    stated = subject.record.protocol
    try:
        protocol = load_protocol(protocol_of(subject.record))
    except VclipError as error:
        subject.note("protocol", UNCHECKED, str(error))
        return None
    text = f"{protocol.name}, version {protocol.version} ({protocol.sha256[:12]}…)"
    problems = []
    if protocol.sha256 != stated.sha256:
        followed = f"the record followed version {stated.version} ({stated.sha256[:12]}…)"
        problems = [text, followed]
    subject.note_problems("protocol", problems, text)
    return protocol


def protocol_of(record: Record) -> str:
    """The file of the protocol that a record followed where it is here, else its name."""
    named = str(record.config.get("protocol") or record.protocol.name)
    return named if Path(named).is_file() else record.protocol.name


def check_dataset(
    subject: Subject, protocol: Protocol | None, predictions: Predictions | None
) -> None:
    """Manifest, label set, prompts and test list, as the dataset of that name has them now."""
    stated, prompts = subject.record.dataset, subject.record.prompts
    try:
        dataset = open_dataset(stated.name)
    except VclipError as error:
        return subject.note("dataset", UNCHECKED, str(error))
    label_set = dataset.label_set
    subject.note_hash("manifest", dataset.manifest.sha256, stated.manifest_sha256)
    subject.note_hash("label set", label_set.sha256, stated.label_set.sha256, label_set.name)
    variant = prompts.text_variant or NATURAL
    try:
        again = class_prompts(label_set, stated.classes, variant, prompts.templates)
    except VclipError as error:
        subject.note("prompts", DIFFERS, f"cannot be made again: {error}")
    else:
        changed = [
            f"{name!r}: {now[0]!r} instead of {then[0]!r}"
            for name, now, then in zip(stated.classes, again, prompts.texts, strict=True)
            if now != then
        ]
        more = f" and {len(changed) - 1:,} more" if changed[1:] else ""
        first = [changed[0] + more] if changed else []
        subject.note_problems("prompts", first, f"of {len(again):,} classes")
    _check_list(subject, dataset, protocol, predictions)


def _check_list(
    subject: Subject,
    dataset: Dataset,
    protocol: Protocol | None,
    predictions: Predictions | None,
) -> None:
    stated, named = subject.record.dataset, splits_of(subject.record)
    if protocol is None:
        return subject.note("test list", UNCHECKED, "the protocol is not known")
    gone = [name for name in named if name.endswith(".csv") and not Path(name).is_file()]
    if gone:
        return subject.note("test list", UNCHECKED, f"the split file {gone[0]} is not here")
    try:
        test = protocol_tests(protocol, dataset, splits=named)[0]
    except VclipError as error:
        return subject.note("test list", DIFFERS, str(error))
    subject.note_hash("test list", test.split_sha256, stated.split_sha256)
    if set(test.classes) != set(stated.classes):
        text = f"{len(test.classes)} candidates now, {len(stated.classes)} in the record"
        subject.note("classes", DIFFERS, text)
    if predictions is not None:
        _check_labels(subject, labels_of(test), predictions)


def splits_of(record: Record) -> list[str]:
    """The `--split` value of the record's test set: its split file, or its name."""
    asked = record.config.get("split") or record.config.get("splits") or []
    split = record.dataset.split
    files = [name for name in asked if name.endswith(".csv") and Path(name).stem == split]
    return files[:1] or [test_set_of(record)]


def _check_labels(
    subject: Subject, labels: Mapping[str, Sequence[str]], predictions: Predictions
) -> None:
    """Exactly the listed videos are scored or failed, with the labels that they are listed with."""
    failed = {failure.video for failure in subject.record.failures}
    handled = set(predictions.videos) | failed
    problems = []
    if foreign := sorted(handled - set(labels)):
        problems.append(f"not on the list: {some(foreign)}")
    if not subject.record.partial and (missing := sorted(set(labels) - handled)):
        problems.append(f"neither scored nor failed: {some(missing)}")
    other = [
        video
        for video, names in zip(predictions.videos, predictions.labels, strict=True)
        if video in labels and set(labels[video]) != set(names)
    ]
    if other:
        problems.append(f"other labels: {some(other)}")
    text = "the listed videos, with the labels of the list"
    subject.note_problems("listed videos", problems, text)


def check_backbone(subject: Subject, pretrained: str | None) -> None:
    """Whether the weights of that name are those that were used; loads them.

    pretrained: where they lie now, None for the record's own tag or file.
    """
    stated = subject.record.backbone
    source = pretrained or stated.pretrained
    try:
        found = subject.seen.backbone_sha256(stated.name, source)
    except VclipError as error:
        return subject.note("backbone weights", UNCHECKED, str(error))
    name = f"{stated.name} ({source or 'its own weights'})"
    return subject.note_hash("backbone weights", found, stated.weights_sha256, name)


def check_checkpoint(subject: Subject, named: Path | None) -> Path | None:
    """Check the checkpoint that was named, or one of its hash near the record; gives its file."""
    stated = subject.record.adapter.checkpoint_sha256
    if stated is None:
        if named is not None:
            text = f"the record was made without one, and {named} was named"
            subject.note("checkpoint", DIFFERS, text)
        return None
    file = named or checkpoint_near(subject.path, stated, subject.seen.file_sha256)
    if file is None:
        text = f"none of sha256 {stated[:12]}… lies near the record: name it with --checkpoint"
        subject.note("checkpoint", UNCHECKED, text)
        return None
    subject.note_hash("checkpoint", subject.seen.file_sha256(file), stated, str(file))
    _check_training_list(subject, file)
    return file


def checkpoint_near(
    record: Path, sha256: str, hash_of: Callable[[Path], str] = sha256_file
) -> Path | None:
    """A checkpoint of that hash below the folders that a record lies in, the nearest first."""
    for folder in record.resolve().parents[: SEARCHED_LEVELS + 1]:
        for file in sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*/*.safetensors")):
            if hash_of(file) == sha256:
                return file
    return None


def _check_training_list(subject: Subject, checkpoint: Path) -> None:
    """Check the list beside a checkpoint against the hash that the checkpoint's header holds."""
    file = checkpoint.with_name(TRAINING_LIST)
    if not file.is_file():
        return None
    try:
        stated = read_info(checkpoint).training.get("split_sha256")
        found = sha256_bytes(read_split(file, altered=True).csv)
    except VclipError as error:
        return subject.note("training list", DIFFERS, str(error))
    return subject.note_hash("training list", found, stated, str(file))
