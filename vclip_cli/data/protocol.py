"""Protocols: what is trained on, what is tested on, and how, as `protocols/<name>.yaml`.

The schema is closed: an unknown key is an error with file and line.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.common.files import plain_name, sha256_json
from vclip_cli.common.resources import find_yaml, list_yaml
from vclip_cli.common.yaml_files import ErrorAt, load_model
from vclip_cli.data.split import ProtocolReference

ANY_DATASET = "*"
"""Stands for every dataset that no other entry names."""

Metric = Literal[
    "top1", "top5", "mean_class_accuracy", "map", "map_micro", "f1_macro", "f1_micro",
    "precision_at_1", "precision_at_5", "calibration_error",
]  # fmt: skip
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class Entry(_Closed):
    """One list of videos to train or test on.

    split: an official split, a union such as `train-1+test-1`, `all`; of several, the first that
      the dataset has. classes: a subset of the label set, None for all classes. part: what the list
      is called where a split has several. halves: where `part` is base or novel, whether the halves
      are the label set's `subsets`, counted by the published rule in `counted_in`, or `either`:
      the subsets where there are any. draw: the rule for the training videos. shots: the
      published numbers, where they differ from the protocol's. optional: only on request.
      open_vocabulary: true for label sets with the subsets `seen` and `unseen` alone, false for all
      others alone.
    """

    dataset: str
    split: Annotated[list[str], BeforeValidator(_listed)] = Field(min_length=1)
    classes: str | None = None
    part: str | None = None
    halves: Literal["training-counts", "subsets", "either"] | None = None
    counted_in: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    draw: Literal["official", "few-shot", "base-to-novel"] = "official"
    shots: list[int] | None = None
    optional: bool = False
    open_vocabulary: bool | None = None

    @model_validator(mode="after")
    def _halves_fit(self) -> Entry:
        if self.halves is not None and self.part not in ("base", "novel"):
            raise ErrorAt(("halves",), "halves are for the parts base and novel only")
        if self.halves is not None and self.classes is not None:
            raise ErrorAt(("classes",), "give either halves or a subset of classes")
        if self.halves in ("training-counts", "either") and not self.counted_in:
            raise ErrorAt(("halves",), "counted_in must say which split is counted")
        return self


class Views(_Closed):
    """Temporal views (clips) times spatial views (crops) of a video."""

    clips: int = Field(default=1, ge=1)
    crops: Literal[1, 3] = 1


class Text(_Closed):
    """The label set's text variant, and prompt templates; None where the method brings its own."""

    variant: str | None = None
    templates: list[str] | None = None

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, templates: list[str] | None) -> list[str] | None:
        for index, template in enumerate(templates or []):
            if "{class}" not in template and "{}" not in template:
                raise ErrorAt((index,), f"{template!r} has no place for the class: {{class}}")
        return templates


class Aggregate(_Closed):
    """What the test lists of one dataset are joined to: mean and standard deviation."""

    over: list[Literal["splits", "parts", "seeds"]] = Field(default_factory=list)
    harmonic_mean: bool = False


class Sampling(_Closed):
    """Frames: `uniform` segment midpoints, `random` ones of segments, `dense` every stride-th."""

    train: Literal["uniform", "random", "dense"] = "random"
    test: Literal["uniform", "random", "dense"] = "uniform"
    stride: int = Field(default=1, ge=1)


class Optimizer(_Closed):
    """AdamW and its values; `rate_factors` multiply the rate of a method's parameter groups."""

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decay_biases: bool = False
    rate_factors: dict[str, float] = Field(default_factory=dict)


class Schedule(_Closed):
    """Length in epochs or in steps; linear warm-up; cosine down to `final_fraction` of the rate."""

    name: Literal["cosine", "constant"] = "cosine"
    epochs: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    warmup_epochs: float = Field(default=0, ge=0)
    final_fraction: Fraction = 0.0

    @model_validator(mode="after")
    def _one_length(self) -> Schedule:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("give either epochs or steps")
        return self


class ColorJitter(_Closed):
    """Strengths as torchvision's; `per_frame`: drawn anew for each frame of a clip."""

    probability: Fraction
    brightness: float
    contrast: float
    saturation: float
    hue: float
    per_frame: bool = False


class Augmentation(_Closed):
    """What is done to training frames and labels.

    crop: `center`, `multi-scale` (fixed positions, sides of `scales` times the short side) or
    `random-resized` (area in `scales`, sides in `ratio`). mixup, cutmix: their alpha, 0 is off;
    switch: the probability of cutmix where both are on. rand_augment: timm's string.
    """

    crop: Literal["center", "multi-scale", "random-resized"] = "center"
    scales: list[float] = Field(default_factory=list)
    ratio: tuple[float, float] | None = None
    flip: Fraction = 0.0
    color_jitter: ColorJitter | None = None
    grayscale: Fraction = 0.0
    rand_augment: str | None = None
    mixup: float = Field(default=0.0, ge=0)
    cutmix: float = Field(default=0.0, ge=0)
    switch: Fraction = 0.5
    label_smoothing: Fraction = 0.0

    @field_validator("rand_augment")
    @classmethod
    def _is_timms_notation(cls, setting: str | None) -> str | None:
        sections = r"(-(m|n|inc)\d{1,2}|-(p|mstd)\d(\.\d+)?)+"
        if setting is not None and not re.fullmatch(f"rand{sections}", setting):
            raise ValueError("not a RandAugment setting such as rand-m7-n4-mstd0.5-inc1")
        return setting


class Recipe(_Closed):
    """A published setting of a method under this protocol, with its source.

    datasets: the training sets that it is for, empty for all. batch_size: effective, over all
    devices and accumulation steps. views: at the final test. start_from: the weights that training
    begins with, in words, where it is not the plain backbone. bridge: a method that is trained
    first, by its own recipe on the same videos, and whose weights this one begins with. config: the
    method's options. negatives: for several labels a video, how many of the labels that no video of
    an update has are drawn for its loss; all where there are no more. optimizer, schedule: None for
    a method that is fitted on stored embeddings in its own way.
    """

    method: str
    source: str
    datasets: list[str] = Field(default_factory=list)
    start_from: str | None = None
    bridge: str | None = None
    backbone: str | None = None
    frames: int = Field(ge=1)
    sampling: Sampling = Sampling()
    views: Views = Views()
    text: Text = Text()
    preprocessing: Literal["clip", "reference-video", "backbone"] = "backbone"
    config: dict[str, Any] = Field(default_factory=dict)
    batch_size: int = Field(ge=1)
    negatives: int = Field(default=512, ge=1)
    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    augmentation: Augmentation = Augmentation()
    notes: str = ""

    @cached_property
    def sha256(self) -> str:
        """The hash of the parsed content."""
        return sha256_json(self.model_dump(mode="json"))


class Protocol(_Closed):
    """A versioned protocol. See the keys' classes for what they hold.

    shots, seeds: the published numbers of training videos a class, and of draws. frames: T, and
    `frames_of` where a dataset's own differs.
    """

    name: str
    version: int = Field(ge=1)
    title: str
    source: str
    kind: Literal["single-label", "multi-label"] = "single-label"
    train: list[Entry] = Field(default_factory=list)
    test: list[Entry] = Field(min_length=1)
    shots: list[Annotated[int, Field(ge=1)]] = Field(default_factory=list)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default_factory=list)
    frames: int = Field(ge=1)
    frames_of: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    views: Views = Views()
    text: Text | None = None
    metrics: list[Metric] = Field(min_length=1)
    aggregate: Aggregate = Aggregate()
    recipes: dict[str, Recipe] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _is_plain(cls, name: str) -> str:
        return plain_name(name)

    @cached_property
    def sha256(self) -> str:
        """The hash of the parsed content; comments and layout do not count."""
        return sha256_json(self.model_dump(mode="json"))

    @property
    def reference(self) -> ProtocolReference:
        """Name, version and hash, for provenance."""
        return ProtocolReference(name=self.name, version=self.version, sha256=self.sha256)

    def frames_for(self, dataset: str) -> int:
        """T for a dataset by name."""
        return self.frames_of.get(dataset, self.frames)

    def recipe(self, name: str) -> Recipe:
        """A recipe by name. Raises UsageError with the near misses."""
        if name not in self.recipes:
            raise UsageError(
                f"the protocol {self.name!r} has no recipe {name!r}",
                hint=did_you_mean(name, self.recipes),
            )
        return self.recipes[name]

    def recipe_for(
        self, method: str, dataset: str, backbone: str | None = None
    ) -> tuple[str, Recipe] | None:
        """The first recipe of a method for a training set: one that names it, else one for all.

        backbone: only recipes for this backbone, or for none in particular.
        """
        for wanted in (True, False):
            for name, recipe in self.recipes.items():
                fits = dataset in recipe.datasets if wanted else not recipe.datasets
                same = None in (backbone, recipe.backbone) or backbone == recipe.backbone
                if recipe.method == method and fits and same:
                    return name, recipe
        return None


def load_protocol(name_or_path: str | Path) -> Protocol:
    """The protocol of a name or of a .yaml file.

    Raises UsageError for an unknown name, SpecError with file, line and key for a broken file.
    """
    path = find_yaml("protocols", str(name_or_path))
    protocol = load_model(path, Protocol)
    if str(name_or_path) == path.stem != protocol.name:
        raise SpecError(
            "the key 'name' differs from the file's name",
            where=str(path),
            found=repr(protocol.name),
            expected=repr(path.stem),
        )
    return protocol


def list_protocols() -> dict[str, Path]:
    """Every protocol: name to file, the person's own before the shipped ones."""
    return list_yaml("protocols")
