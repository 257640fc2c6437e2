"""Label embeddings as a file: computed once, extended at any time, refused for other weights.

It is a .safetensors file with one row per label. Its header holds each label's name and prompts,
and identifies the method, backbone and checkpoint that computed them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vclip_cli.common.errors import ComparisonRefused, DataError, UsageError, WeightsError
from vclip_cli.common.files import write_tensors
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.safe_readers import open_tensors
from vclip_cli.data.label_set import NATURAL, LabelSet
from vclip_cli.engine.encoding.encoder import Encoder, resolve_compute
from vclip_cli.engine.encoding.model import LoadedMethod, load_method
from vclip_cli.engine.encoding.settings import class_prompts, resolve_settings
from vclip_cli.engine.requests import Request
from vclip_cli.engine.specs import ComputeSpec

FORMAT = "vclip-label-embeddings/1"
HEADER = "vclip"
BATCH = 256
"""Labels encoded at once."""
SAVE_EVERY = 8
"""Batches between two writes. A killed run continues from the last write."""


@dataclass(frozen=True, eq=False)
class LabelEmbeddings:
    """embeddings: (K,…), from the adapter's `encode_text`; labels, prompts: one entry per row."""

    labels: list[str]
    prompts: list[list[str]]
    embeddings: Tensor
    identity: dict[str, Any]


@dataclass(frozen=True)
class EmbeddedLabels:
    """The counts of `embed_labels`: labels newly encoded, kept from the file, and in total."""

    encoded: int
    kept: int
    total: int


def identity_of(method: LoadedMethod, precision: str) -> dict[str, Any]:
    """Everything but the prompts that embeddings depend on: names, config and hashes."""
    facts = method.describe()
    config = {name: value for name, value in facts["config"].items() if name != "language_model"}
    return {
        "method": facts["method"],
        "config": config,
        "backbone_sha256": facts["backbone"]["weights_sha256"],
        "quick_gelu": facts["backbone"]["quick_gelu"],
        "checkpoint_sha256": facts["checkpoint_sha256"],
        "precision": precision,
        "interpolate": facts.get("interpolate"),
    }


def embed_labels(
    method: LoadedMethod,
    labels: Sequence[str],
    prompts: Sequence[Sequence[str]],
    compute: ComputeSpec,
    path: Path,
    *,
    progress: Progress = no_progress,
) -> EmbeddedLabels:
    """Write the embeddings of labels, encoding only those whose prompts the file lacks.

    Raises ComparisonRefused for a text side that is tied to its training classes, WeightsError
    where the file holds embeddings of other weights, StorageError.
    """
    encoder = Encoder(method.adapter, compute)
    adapter = method.adapter.to(encoder.device)
    if adapter.tied_classes is not None:
        raise ComparisonRefused(
            f"the text side of this {adapter.name!r} is tied to its training classes",
            hint="train with a context that all classes share",
        )
    if path.exists():
        store = _read_own(path, method, compute.precision)
    else:
        store = LabelEmbeddings([], [], torch.zeros(0), identity_of(method, compute.precision))
    known = {tuple(own) for own in store.prompts}
    fresh = [(n, list(p)) for n, p in zip(labels, prompts, strict=True) if tuple(p) not in known]
    with progress("encoding labels", len(labels), len(labels) - len(fresh)) as advance:
        for number, start in enumerate(range(0, len(fresh), BATCH), start=1):
            batch = fresh[start : start + BATCH]
            encoded = encoder.encode_text([own for _, own in batch])
            if not isinstance(encoded, Tensor) or len(encoded) != len(batch):
                raise UsageError(f"the text side of {adapter.name!r} is not one row per label")
            rows = encoded.float().cpu()
            store = LabelEmbeddings(
                [*store.labels, *(name for name, _ in batch)],
                [*store.prompts, *(own for _, own in batch)],
                torch.cat([store.embeddings, rows]) if store.labels else rows,
                store.identity,
            )
            if number % SAVE_EVERY == 0:
                write_label_embeddings(store, path)
            advance(len(batch))
    if fresh:
        write_label_embeddings(store, path)
    return EmbeddedLabels(len(fresh), len(labels) - len(fresh), len(store.labels))


def embed_label_texts(
    request: Request, label_set: LabelSet, path: Path, *, progress: Progress = no_progress
) -> tuple[LoadedMethod, EmbeddedLabels]:
    """Load the method of a request and write the embeddings of a label set; see `embed_labels`."""
    compute = resolve_compute(request.compute)
    loaded = load_method(request.model)
    views = loaded.stated_views()
    settings = resolve_settings(loaded.adapter, request.input, request.text, views)
    variant = settings.text if settings.text in label_set.variants else NATURAL
    prompts = class_prompts(label_set, label_set.names, variant, settings.templates)
    return loaded, embed_labels(loaded, label_set.names, prompts, compute, path, progress=progress)


def write_label_embeddings(store: LabelEmbeddings, path: Path) -> None:
    """Write the file, whole or not at all. Raises StorageError."""
    header = {
        "format": FORMAT,
        "identity": store.identity,
        "labels": store.labels,
        "prompts": store.prompts,
    }
    tensors = {"embeddings": store.embeddings.contiguous().numpy()}
    write_tensors(path, tensors, {HEADER: json.dumps(header, sort_keys=True)})


def read_label_embeddings(path: Path) -> LabelEmbeddings:
    """The inverse of `write_label_embeddings`. Raises DataError for any other file."""
    if not path.is_file():
        raise DataError(
            "no such file of label embeddings",
            where=str(path),
            hint="make one: vclip labels embed LABELS --out FILE",
        )
    with open_tensors(path, "not a file of label embeddings, or a damaged one") as stream:
        header = json.loads(stream.metadata()[HEADER])
        embeddings = torch.from_numpy(stream.get_tensor("embeddings"))
        store = LabelEmbeddings(header["labels"], header["prompts"], embeddings, header["identity"])
        if header["format"] != FORMAT:
            raise ValueError(f"the format is {header['format']}")
        if not len(store.labels) == len(store.prompts) == len(embeddings):
            raise ValueError("its labels do not fit its embeddings")
        return store


def _read_own(path: Path, method: LoadedMethod, precision: str) -> LabelEmbeddings:
    """Read the file. Raises WeightsError where another method, backbone or checkpoint made it."""
    store = read_label_embeddings(path)
    for key, value in identity_of(method, precision).items():
        if store.identity.get(key) != value:
            raise WeightsError(
                "the label embeddings were computed by other weights or settings",
                where=str(path),
                found=f"{key} {_short(store.identity.get(key))}",
                expected=_short(value),
                hint="name the checkpoint that they belong to, or embed the labels anew into"
                " another file",
            )
    return store


def stored_text(
    path: Path, method: LoadedMethod, prompts: Sequence[Sequence[str]], compute: ComputeSpec
) -> Tensor:
    """The result of `Encoder.encode_text`, read from the file, on the run's device.

    Raises DataError for prompts that the file lacks.
    """
    store = _read_own(path, method, compute.precision)
    index = {tuple(known): position for position, known in enumerate(store.prompts)}
    missing = [own for own in prompts if tuple(own) not in index]
    if missing:
        raise DataError(
            f"{len(missing):,} of {len(prompts):,} labels have no embedding in this file",
            where=str(path),
            found=f"such as the prompt {missing[0][0]!r}",
            hint="add them: vclip labels embed LABELS --out FILE, with the same templates",
        )
    return store.embeddings[[index[tuple(own)] for own in prompts]].to(compute.device)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:12]}…" if isinstance(value, str) and len(text) == 64 else text[:200]
