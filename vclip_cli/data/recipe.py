"""A protocol's recipes: how a method is trained, with the source of each value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from vclip_cli.common.yaml_files import ErrorAt, Location
from vclip_cli.data.label_set import ClosedModel, HashedModel

Fraction = Annotated[float, Field(ge=0, le=1)]


class Views(ClosedModel):
    """Temporal views (clips) times spatial views (crops) of a video."""

    clips: int = Field(default=1, ge=1)
    crops: Literal[1, 3] = 1


class Text(ClosedModel):
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


class SamplingRules(ClosedModel):
    """How frames are chosen, in training and at test.

    `uniform`: the midpoints of T equal segments; `random`: a random frame of each segment; `dense`:
    every `stride`-th frame of a window.
    """

    train: Literal["uniform", "random", "dense"] = "random"
    test: Literal["uniform", "random", "dense"] = "uniform"
    stride: int = Field(default=1, ge=1)


class Optimizer(ClosedModel):
    """The optimizer. SGD takes the first of `betas` as its momentum.

    decay_biases: whether weight decay also applies to biases and norms. rate_factors: what the rate
    of a method's parameter groups is multiplied by.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    epsilon: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decay_biases: bool = False
    rate_factors: dict[str, float] = Field(default_factory=dict)


class Schedule(ClosedModel):
    """Length in epochs or in steps; linear warm-up, then a cosine down to a fraction of the rate.

    `constant` keeps the full rate after the warm-up. final_fraction: the end of the cosine, as a
    fraction of the full rate.
    """

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


class ColorJitter(ClosedModel):
    """Strengths as torchvision's; per_frame: drawn anew for each frame of a sample."""

    probability: Fraction
    brightness: float
    contrast: float
    saturation: float
    hue: float
    per_frame: bool = False


class Augmentation(ClosedModel):
    """How training frames and labels are augmented.

    crop: `center`, `multi-scale` (fixed positions, sides of `scales` times the short side) or
    `random-resized` (area in `scales`, sides in `ratio`). flip, grayscale: probabilities. mixup,
    cutmix: their alpha, 0 is off; switch: the probability of cutmix where both are on.
    rand_augment: timm's string.
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


class Recipe(HashedModel):
    """A published setting of a method under this protocol, with its source.

    datasets: the training sets that it is for, empty for all. start_from: the weights that training
    begins with, in words, where it is not the plain backbone; shown by `vclip protocols`, as are
    `source` and `notes`. bridge: a method that is trained first, by its own recipe on the same
    videos; training begins with its weights. backbone: the backbone it is for, and its default.
    frames: T. views: at the final test. preprocessing: the `backbone`'s own, that of OpenAI's
    `clip`, or `reference-video`, that of the X-CLIP and ViFi-CLIP code. config: the method's
    options. batch_size: effective, over all devices and accumulation steps. negatives: in
    multi-label training, how many labels that no video of an update has are drawn for its loss; all
    where there are fewer. optimizer, schedule: None for a method that is fitted on stored
    embeddings in its own way.
    """

    method: str
    source: str
    datasets: list[str] = Field(default_factory=list)
    start_from: str | None = None
    bridge: str | None = None
    backbone: str | None = None
    frames: int = Field(ge=1)
    sampling: SamplingRules = SamplingRules()
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

    def idle_keys(self, multi_label: bool) -> Iterator[tuple[Location, str, bool]]:
        """Keys that may have no effect: place, reason, and whether the reason applies."""
        given = self.model_fields_set
        yield ("negatives",), "videos have one label here", "negatives" in given and not multi_label
        sampling, how = self.sampling, self.augmentation
        dense = "dense" in (sampling.train, sampling.test)
        yield ("sampling", "stride"), "no sampling is dense", sampling.stride > 1 and not dense
        center = how.crop == "center"
        yield ("augmentation", "scales"), "a center crop has one size", bool(how.scales) and center
        idle = how.ratio is not None and how.crop != "random-resized"
        yield ("augmentation", "ratio"), "only random-resized crops have it", idle
        idle = "switch" in how.model_fields_set and not (how.mixup > 0 and how.cutmix > 0)
        yield ("augmentation", "switch"), "it needs both mixup and cutmix", idle
        if (optimizer := self.optimizer) is not None and optimizer.name == "sgd":
            yield ("optimizer", "epsilon"), "SGD has none", "epsilon" in optimizer.model_fields_set
        if (schedule := self.schedule) is not None and schedule.name == "constant":
            idle = "final_fraction" in schedule.model_fields_set
            yield ("schedule", "final_fraction"), "a constant rate stays the same", idle
