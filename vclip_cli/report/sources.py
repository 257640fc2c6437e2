"""What a record refers to: its predictions, videos, way of reading, and model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vclip_cli.common.errors import DataError, VclipError
from vclip_cli.common.files import sha256_file
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.encoding.embedding_store import (
    EmbeddingStore,
    embedding_store,
    recorded_store,
)
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.encoding.model import LoadedMethod, load_method
from vclip_cli.engine.loading.datasets import open_dataset
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.engine.specs import InputSpec, ModelSpec
from vclip_cli.engine.verification.sources import checkpoint_near
from vclip_cli.report.material import Missing
from vclip_cli.results.collect import LoadedRecord, recorded_predictions
from vclip_cli.results.predictions import Predictions
from vclip_cli.results.record import Record
from vclip_cli.video.decoders import known_decoder
from vclip_cli.video.sampling import Sampling


@dataclass(frozen=True)
class Videos:
    """root: the folder of the videos; paths: id to relative path, empty for videos not on disk.

    changed: whether the dataset's manifest is not the record's.
    """

    root: Path
    paths: dict[str, str]
    changed: bool


def predictions_of(loaded: LoadedRecord) -> Predictions | Missing:
    """The predictions that a record names.

    Raises DataError when they are not those that the record was made from, or are damaged.
    """
    file = loaded.record.predictions
    if file is None:
        return Missing("The record names no predictions file.")
    if not (loaded.path.parent / file.file).is_file():
        return Missing(f"The predictions file {file.file} is not beside the record.")
    predictions = recorded_predictions(loaded)
    if list(predictions.classes) != loaded.record.dataset.classes:
        raise DataError(
            "the predictions are of other classes than the record",
            where=str(loaded.path),
            hint="evaluate again: vclip eval --no-resume",
        )
    return predictions


def videos_of(record: Record) -> Videos | Missing:
    """Where the videos of a record's dataset are on this machine."""
    name = record.dataset.name
    try:
        dataset = open_dataset(name)
    except VclipError as error:
        return Missing(f"The videos are missing: {error.what}.")
    if dataset.videos_root is None:
        return Missing(f"The videos are missing: {name} was registered without any.")
    rows = dataset.manifest.rows
    paths = dict(zip(rows["video"], rows["path"], strict=True))
    return Videos(
        dataset.videos_root, paths, dataset.manifest.sha256 != record.dataset.manifest_sha256
    )


def reading_of(record: Record) -> VideoReading | Missing:
    """How the videos of a record were read."""
    video = record.video
    try:
        sampling = Sampling(**video.sampling)
        asked = InputSpec(
            frames=sampling.frames,
            clips=sampling.clips,
            crops=video.views.crops,
            decoder=known_decoder(str(video.decoder.get("name"))),
            sampling=sampling.rule,
            stride=sampling.stride,
            preprocessing=Preprocessing.from_dict(video.preprocessing),
        )
        return VideoReading(asked)
    except (VclipError, TypeError) as error:
        return Missing(f"This version cannot read videos as the record says: {error}.")


def model_of(loaded: LoadedRecord, checkpoints: Sequence[Path]) -> LoadedMethod | Missing:
    """The model of a record, where its exact weights are found.

    checkpoints: files to look at first, before the one that the record's command names and the one
    that `vclip run` puts beside the test's folder.
    """
    record = loaded.record
    checkpoint = None
    if record.adapter.checkpoint_sha256 is not None:
        checkpoint = _find_checkpoint(loaded, checkpoints)
        if checkpoint is None:
            return Missing(
                f"The checkpoint {record.adapter.checkpoint_sha256[:12]} was not found; "
                "name its file with --checkpoint."
            )
    backbone = record.backbone
    options = {} if checkpoint else record.adapter.config
    try:
        method = load_method(
            ModelSpec(
                method=record.adapter.name,
                checkpoint=checkpoint,
                backbone=backbone.name,
                pretrained=backbone.pretrained,
                options=options,
            )
        )
    except VclipError as error:
        return Missing(f"The model cannot be loaded: {error.what}.")
    found = str(method.backbone["weights_sha256"])
    if found != backbone.weights_sha256:
        return Missing(
            f"The weights of {backbone.name} here ({found[:12]}) are not those of the record "
            f"({backbone.weights_sha256[:12]})."
        )
    return method


def store_of(record: Record, encoder: Encoder, reading: VideoReading) -> EmbeddingStore | None:
    """The store of the videos' embeddings: the recorded run's, else the one that this machine would
    fill; None for a method without embeddings."""
    own = embedding_store(encoder, reading)
    key = record.video.embeddings
    if own is None or key is None or own.key == key:
        return own
    return recorded_store(key, encoder.adapter) or own


def _find_checkpoint(loaded: LoadedRecord, given: Sequence[Path]) -> Path | None:
    """The file whose content is the record's checkpoint, also where it was not named."""
    command = loaded.record.command
    named = [Path(value) for option, value in pairwise(command) if option == "--checkpoint"]
    named += [
        Path(word.removeprefix("--checkpoint="))
        for word in command
        if word.startswith("--checkpoint=")
    ]
    sha256 = loaded.record.adapter.checkpoint_sha256
    if sha256 is None:
        return None
    for path in [*given, *named]:
        if path.is_file() and sha256_file(path) == sha256:
            return path
    return checkpoint_near(loaded.path, sha256)
