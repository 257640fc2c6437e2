"""A method, its backbone and its weights, put together from names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vclip_cli.common.errors import ComparisonRefused, UsageError, WeightsError
from vclip_cli.common.files import sha256_file
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.specs import ModelSpec
from vclip_cli.models.backbone import default_weights, load_backbone
from vclip_cli.models.checkpoint import (
    CheckpointInfo,
    load_adapter,
    read_checkpoint,
    read_info,
    refuse_foreign_backbone,
)
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method, list_methods

DEFAULT_METHOD = "clip"
DEFAULT_BACKBONE = "ViT-B-16"


@dataclass(frozen=True)
class TrainingFacts:
    """What a checkpoint's header says of its training.

    videos: the ids that it saw, by dataset; unlisted: datasets with too many ids to store;
    overrides: recipe key to (published, used); evaluation: frames, views and text as trained;
    probability: slope and bias of a multi-label loss; failures: training videos that could not be
    read.
    """

    videos: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unlisted: Sequence[str] = ()
    trained_on: int = 0
    shots: int | None = None
    seed: int | None = None
    partial: bool = False
    overrides: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    failures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    evaluation: Mapping[str, Any] = field(default_factory=dict)
    probability: Mapping[str, float] | None = None
    split_sha256: str | None = None

    @classmethod
    def of(cls, header: Mapping[str, Any]) -> TrainingFacts:
        """The facts in a checkpoint's header; facts that older versions lack get defaults."""
        return cls(**{part.name: header[part.name] for part in fields(cls) if part.name in header})


@dataclass(frozen=True, eq=False)
class LoadedMethod:
    """An adapter in eval mode, and what identifies its weights.

    backbone: its description, with the hash of its weights before the checkpoint was loaded.
    """

    adapter: Adapter
    backbone: dict[str, Any]
    checkpoint_sha256: str | None
    info: CheckpointInfo | None
    interpolate: float | None = None

    @property
    def training(self) -> TrainingFacts:
        """How the checkpoint was trained; empty for weights not trained by vclip."""
        return TrainingFacts.of(self.info.training if self.info is not None else {})

    def describe(self) -> dict[str, Any]:
        """What identifies the scores that this method gives: names, config and hashes."""
        return {
            "method": self.adapter.name,
            "config": self.adapter.config.as_dict(),
            "backbone": self.backbone,
            "checkpoint_sha256": self.checkpoint_sha256,
            **({} if self.interpolate is None else {"interpolate": self.interpolate}),
        }

    def stated_views(self) -> dict[str, Any]:
        """The frames, views, text and templates that the checkpoint was trained with."""
        if self.info is None:
            return {}
        stated = dict(self.training.evaluation)
        if self.info.templates:
            stated["templates"] = tuple(self.info.templates)
        return stated


def candidate_classes(method: LoadedMethod, classes: Sequence[str], where: str) -> tuple[str, ...]:
    """The candidate classes in the order that the method's text side needs.

    Raises ComparisonRefused when it is tied to other classes than these.
    """
    tied = method.adapter.tied_classes
    if tied is None:
        return tuple(classes)
    if not tied:
        raise UsageError(
            f"the method {method.adapter.name!r} must be trained before it can score anything",
            hint=f"vclip train --method {method.adapter.name} …, then --checkpoint FILE",
        )
    if set(classes) != set(tied):
        foreign = sorted(set(classes) - set(tied))
        raise ComparisonRefused(
            f"the text side of this {method.adapter.name!r} is tied to its training classes",
            where=where,
            found=f"{len(foreign)} classes that it was not trained on"
            + (f", such as {foreign[0]!r}" if foreign else "; some of its own are missing"),
            expected=f"exactly its {len(tied)} training classes",
            hint="train with a generic context to score other classes",
        )
    return tied


def load_method(spec: ModelSpec, *, default_backbone: str | None = None) -> LoadedMethod:
    """Build the requested adapter on the CPU, in float32 and eval mode.

    Raises UsageError for unknown names, WeightsError for weights that are missing or do not fit.
    """
    if spec.checkpoint is not None:
        return _load_checkpoint(spec)
    if spec.interpolate is not None:
        raise UsageError(
            "--interpolate weighs a checkpoint against the weights that it was tuned from",
            hint="--checkpoint FILE",
        )
    method = find_method(spec.method or DEFAULT_METHOD)
    name = spec.backbone or default_backbone or DEFAULT_BACKBONE
    backbone = load_backbone(name, spec.pretrained or default_weights(name))
    facts = backbone.describe()
    adapter = method(backbone, method.Config.from_dict(spec.options)).eval()
    return LoadedMethod(adapter, facts, None, None)


def _load_checkpoint(spec: ModelSpec) -> LoadedMethod:
    assert spec.checkpoint is not None
    info = read_info(spec.checkpoint)
    if spec.method not in (None, info.method):
        raise UsageError(
            "the checkpoint belongs to another method",
            where=str(spec.checkpoint),
            found=info.method,
            expected=spec.method,
            hint=f"--method {info.method}",
        )
    name = spec.backbone or info.backbone["name"]
    if spec.backbone is None:
        refuse_foreign_backbone(name, spec.checkpoint)
    complete = not info.backbone["weights_sha256"]  # the file holds every tensor of the backbone
    source = spec.pretrained or info.backbone["pretrained"]
    if source is None:
        source = "random" if complete else default_weights(name)
    backbone = load_backbone(name, source)
    facts = backbone.describe()
    adapter = load_adapter(spec.checkpoint, backbone=backbone)
    if spec.interpolate is not None:
        named = spec.pretrained or info.backbone["pretrained"]
        _interpolate(adapter, spec.interpolate, known=not complete or named is not None)
    return LoadedMethod(adapter, facts, sha256_file(spec.checkpoint), info, spec.interpolate)


def _interpolate(adapter: Adapter, alpha: float, *, known: bool) -> None:
    """Interpolate between the original and the tuned weights, where the method can.

    known: whether the original weights are known.
    """
    interpolate = getattr(adapter, "interpolate", None)
    if interpolate is None:
        able = [name for name in list_methods() if hasattr(find_method(name), "interpolate")]
        raise UsageError(
            f"the weights of {adapter.name!r} cannot be interpolated",
            found=f"--interpolate {alpha:g}",
            expected=f"a checkpoint of {' or '.join(able)}" if able else None,
            hint="leave out --interpolate",
        )
    if not known:
        raise UsageError(
            "the checkpoint does not say which weights it was tuned from: it holds them all",
            found=f"--interpolate {alpha:g}",
            hint="name them with --pretrained",
        )
    interpolate(alpha)


def load_start(spec: ModelSpec, start_from: Path | None, default_backbone: str) -> LoadedMethod:
    """The method to train, with the tensors of an earlier checkpoint loaded.

    A checkpoint of the same method gives all its tensors. One of another method gives those that
    both have: the towers of a `vifi-clip` under a `vl-prompt` (ViFi-CLIP's bridge and prompt). The
    new checkpoint carries them, so it needs only the plain backbone. Raises WeightsError when
    nothing fits.
    """
    if start_from is None:
        return load_method(spec, default_backbone=default_backbone)
    info = read_info(start_from)
    if spec.backbone is None:
        refuse_foreign_backbone(info.backbone["name"], start_from)
    base = replace(
        spec,
        backbone=spec.backbone or info.backbone["name"],
        pretrained=spec.pretrained or info.backbone["pretrained"],
    )
    method = load_method(base, default_backbone=default_backbone)
    own = method.adapter.state_dict()
    given = read_checkpoint(start_from, method.adapter.backbone)[1]
    fitting = {name: t for name, t in given.items() if name in own and own[name].shape == t.shape}
    if not fitting:
        raise WeightsError(
            f"nothing in the checkpoint fits {method.adapter.name!r}",
            where=str(start_from),
            found=f"a checkpoint of {info.method!r}",
        )
    if info.method == method.adapter.name and len(fitting) < len(given):
        raise WeightsError(
            "the checkpoint was trained with other options of the method",
            where=str(start_from),
            found=str(info.config),
            expected=str(method.adapter.config.as_dict()),
            hint="set the same options with --set",
        )
    method.adapter.load_tensors(fitting)
    method.adapter.preprocessing = Preprocessing.from_dict(info.preprocessing)
    return method
