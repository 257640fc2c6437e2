"""The record: everything about one evaluation, as closed JSON (`record.json`).

Tables are made from records. A record has what a stranger needs to repeat its numbers. Two equal
runs on one machine differ only in `timing`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from vclip_cli.common.errors import DataError, SpecError
from vclip_cli.common.files import sha256_json, write_json
from vclip_cli.common.safe_readers import read_json
from vclip_cli.common.yaml_files import ErrorAt, validate_model
from vclip_cli.results.measure import PerClass
from vclip_cli.results.metric import Closed, Kind, MetricValue

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class RecordError(DataError):
    """A record that is missing, damaged, or written by a newer version."""

    title = "Record"


class Package(Closed):
    """What computed the record; commit is null outside a checkout."""

    version: str
    commit: str | None = None


class Override(Closed):
    """A field of the protocol that this run set to something else."""

    field: str
    protocol: Any
    used: Any


class RecordedAggregate(Closed):
    """What a table joins. over: the repeats of a mean: numbered splits (`test-1`) and parts
    (`zs1`), training seeds. harmonic_mean: whether base and novel have one."""

    over: list[Literal["splits", "parts", "seeds"]] = Field(default_factory=list)
    harmonic_mean: bool = False


EVERYTHING_JOINED = RecordedAggregate(over=["splits", "parts", "seeds"], harmonic_mean=True)
"""What tables of vclip 0.1 joined: used for its records, which do not state it."""


class RecordedProtocol(Closed):
    """shots: training videos per class, null if the protocol trains on all or none.

    metrics: the protocol's own, in its order. aggregate: what its tables join. Both are null in
    records of vclip 0.1; their tables show the main metric and join `EVERYTHING_JOINED`.
    """

    name: str
    version: int | str
    sha256: Sha256
    shots: int | None = Field(default=None, ge=1)
    metrics: list[str] | None = None
    aggregate: RecordedAggregate | None = None

    @property
    def title(self) -> str:
        """Name, version and the start of the hash, as tables print them."""
        return f"{self.name}, version {self.version} ({self.sha256[:12]})"


class RecordedLabelSet(Closed):
    """The named list that the classes were taken from."""

    name: str
    version: int | str
    sha256: Sha256


class RecordedDataset(Closed):
    """What was scored. part: `base`, `novel` or another named subset of the classes, null for all.

    manifest_sha256: null without a manifest. split_sha256: of the list of videos to score. classes:
    in the order of the scores' columns. absent: listed videos of the dataset that are not on disk.
    unlisted: videos on disk that are not listed. remarks: other findings about the dataset.
    """

    name: str
    split: str
    part: str | None = None
    manifest_sha256: Sha256 | None
    split_sha256: Sha256
    label_set: RecordedLabelSet
    classes: list[str] = Field(min_length=1)
    absent: Count = 0
    unlisted: Count = 0
    remarks: list[str] = Field(default_factory=list)


class Prompts(Closed):
    """What the text tower was given. texts: per class the filled prompts, in class order."""

    templates: list[str]
    text_variant: str | None
    texts: list[list[str]]


class RecordedBackbone(Closed):
    """The model before any training.

    pretrained: the tag or file as it was named, null where the name brings its weights.
    weights_sha256: of the tensors that training started from, equal for all seeds.
    """

    name: str
    pretrained: str | None
    weights_sha256: Sha256
    quick_gelu: bool
    parameters: Count


class RecordedMethod(Closed):
    """checkpoint_sha256: null for an untrained method."""

    name: str
    config: dict[str, Any]
    checkpoint_sha256: Sha256 | None
    trainable_parameters: Count


class RecordedViews(Closed):
    """Temporal clips and spatial crops per video."""

    clips: int = Field(ge=1)
    crops: int = Field(ge=1)


class Video(Closed):
    """How frames were read. decoder: its name, version and mode; frames: T.

    store: identifies the frame store, null where videos were decoded. embeddings: the key of the
    embedding store, null without one.
    """

    frames: int = Field(ge=1)
    decoder: dict[str, Any]
    sampling: dict[str, Any]
    views: RecordedViews
    preprocessing: dict[str, Any]
    store: dict[str, Any] | None = None
    embeddings: Sha256 | None = None


class Compute(Closed):
    """libraries: name to version."""

    precision: str
    device: str
    world_size: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    workers: Count
    libraries: dict[str, str]


class Counts(Closed):
    """Videos in the split, scored, and failed. A partial run scores fewer than remain."""

    listed: Count
    scored: Count
    failed: Count


class RecordedFailure(Closed):
    """A video that could not be scored. path: relative to the dataset's folder."""

    video: str
    path: str
    reason: str


class Damaged(Closed):
    """A scored video that shows signs of damage; the counts as `vclip_cli.video` makes them."""

    video: str
    corrupt_frames: Count = 0
    failed_packets: Count = 0
    repeated_frames: Count = 0


class Decision(Closed):
    """How a multi-label test got its probabilities, and the threshold on them.

    A label's probability is sigmoid(slope · (logit - bias)), averaged over views. source: `trained`
    (values of the training loss), `fitted` (to the validation part; one slope and bias for all
    labels, so no ranking changes) or `stated` (fixed for all CLIP models, not calibrated).
    threshold: the one with the highest micro F1 on the validation part. validation: that part,
    `dataset/split`; null without one. videos, labels: how many of it were scored. note: in words.
    """

    slope: float
    bias: float
    source: Literal["trained", "fitted", "stated"]
    threshold: float | None = None
    validation: str | None = None
    split_sha256: Sha256 | None = None
    videos: Count = 0
    labels: Count = 0
    note: str


class PredictionsFile(Closed):
    """file: relative to the record's folder."""

    file: str = Field(pattern=r"^[^./\\:][^/\\:]*$")
    sha256: Sha256


class Cost(Closed):
    """What one video costs, in multiply-adds, which papers print as FLOPs. A view is `encode_video`
    of T frames and `score` against all classes; a video is all its views."""

    multiply_adds_per_view: Count
    multiply_adds_per_video: Count


class Timing(Closed):
    """All that changes from run to run. started, finished: ISO 8601 in UTC.

    wall_seconds: of the whole pass, with decoding. latency_milliseconds: of one video in the model,
    from frames to scores in memory, the median over batches; null where an earlier run scored all.
    embeddings_reused: videos whose embeddings came from the store. host: facts of the machine.
    """

    started: str
    finished: str
    wall_seconds: float = Field(ge=0)
    videos_per_second: float = Field(ge=0)
    latency_milliseconds: float | None = Field(default=None, ge=0)
    embeddings_reused: Count = 0
    host: dict[str, Any] = Field(default_factory=dict)


class Record(Closed):
    """One evaluation of one method on one list of videos.

    command: the arguments as given. config: the resolved options. partial: scored with `--limit`.
    overlap_allowed: videos of the training list were scored, with `--allow-overlap`. marks: remarks
    that every table must print. seeds: by use (`split`, `train`, `bootstrap`), null without one.
    metrics: the first one is the protocol's main metric. without_positives: classes that no scored
    video belongs to, left out of averages over classes. decision: null for single-label. cost: null
    where it cannot be counted, and in early records.
    """

    schema_version: Literal[1] = 1
    package: Package
    command: list[str]
    config: dict[str, Any]
    overrides: list[Override] = Field(default_factory=list)
    protocol: RecordedProtocol
    dataset: RecordedDataset
    prompts: Prompts
    backbone: RecordedBackbone
    adapter: RecordedMethod
    video: Video
    compute: Compute
    seeds: dict[str, int | None]
    counts: Counts
    failures: list[RecordedFailure] = Field(default_factory=list)
    damage: list[Damaged] = Field(default_factory=list)
    partial: bool = False
    overlap_allowed: bool = False
    marks: list[str] = Field(default_factory=list)
    metrics: dict[str, MetricValue] = Field(min_length=1)
    per_class: PerClass
    without_positives: list[str] = Field(default_factory=list)
    decision: Decision | None = None
    predictions: PredictionsFile | None
    cost: Cost | None = None
    timing: Timing

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        counts, classes = self.counts, self.dataset.classes
        texts, failures = len(self.prompts.texts), len(self.failures)
        handled = counts.scored + counts.failed
        if handled > counts.listed or (handled < counts.listed and not self.partial):
            what = f"{counts.scored} scored and {counts.failed} failed do not make {counts.listed}"
            raise ErrorAt(("counts",), f"{what} listed")
        if failures != counts.failed:
            raise ErrorAt(("failures",), f"{failures} entries for {counts.failed} failed videos")
        if len(set(classes)) < len(classes):
            raise ErrorAt(("dataset", "classes"), "a class is listed twice")
        if texts != len(classes):
            raise ErrorAt(("prompts", "texts"), f"{texts} entries for {len(classes)} classes")
        if [entry.name for entry in self.per_class.values] != classes:
            raise ErrorAt(("per_class", "values"), "the classes differ from dataset.classes")
        return self

    @property
    def kind(self) -> Kind:
        """Whether a video has one label or may have several."""
        return "single-label" if self.per_class.metric == "top1" else "multi-label"

    @property
    def views(self) -> tuple[int, int]:
        """Clips and crops of a video."""
        return self.video.views.clips, self.video.views.crops


def write_record(record: Record, path: Path) -> None:
    """Write a record as indented JSON, whole or not at all. Raises StorageError."""
    write_json(path, record.model_dump(mode="json"))


def read_record(path: Path) -> Record:
    """Read and validate a record. Raises RecordError with the file and the key."""
    if not path.exists():
        raise RecordError("no such record", where=str(path))
    value = read_json(path, error=RecordError)
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version is None:
        raise RecordError("not a record of vclip: it has no schema_version", where=str(path))
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecordError(
            "the record was written by a newer version of vclip",
            where=f"{path}: schema_version",
            found=str(version),
            expected=f"at most {SCHEMA_VERSION}",
            hint="upgrade vclip to read it",
        )
    try:
        return validate_model(value, Record, str(path))
    except SpecError as error:
        parts = {"where": error.where, "found": error.found, "expected": error.expected}
        hint = error.hint or "do not edit a record by hand: evaluate again"
        raise RecordError(error.what, **parts, hint=hint) from None


def record_fingerprint(record: Record) -> str:
    """The sha256 of a record without its `timing`: equal for equal runs."""
    return sha256_json(record.model_dump(mode="json", exclude={"timing"}))
