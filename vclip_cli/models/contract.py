"""What every adapter offers. One file in `models/adapters/` is one method and carries its name.

Shapes: B batch, T frames, C H W, K classes, D tower width, E embedding width.

An adapter never sees datasets, splits, protocols or metrics: prompts and frames go in, logits come
out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vclip_cli.common.errors import ComparisonRefused, SpecError, UsageError, did_you_mean
from vclip_cli.common.long_work import Progress, no_progress
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.fitting import Fitted, Fitting
from vclip_cli.models.tensors import tensors_sha256


class Trainable(NamedTuple):
    """A tensor that trains: its learning-rate group, and whether weight decay applies to it."""

    parameter: nn.Parameter
    group: str = "base"
    decay: bool = True


@dataclass(frozen=True)
class AdapterConfig:
    """The options of a method; each adapter derives its own. Plain values only: it is stored."""

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AdapterConfig:
        """The inverse of `as_dict`. Raises SpecError on an unknown key, with the near miss."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise SpecError(
                    f"unknown option {key!r} of this method", hint=did_you_mean(key, known)
                )
        plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        for field in fields(cls):
            if field.name in plain:
                _require_kind(field.name, plain[field.name], field.default)
        return cls(**plain)


class Adapter(nn.Module):
    """The base of all methods: a backbone, a config, and the four calls of the contract."""

    name: ClassVar[str]
    """The method's name on the command line: the file's name with `-` for `_`."""
    summary: ClassVar[str]
    """One line for `vclip methods`."""
    paper: ClassVar[str] = ""
    Config: ClassVar[type[AdapterConfig]] = AdapterConfig
    cacheable: ClassVar[Literal["frame", "video", "none"]] = "none"
    """What of `encode_video` may be stored and reused while the weights stay as they are.
    `frame`: the adapter also has `encode_frames` (B,T,…)→(B,T,E) and `pool_frames` after it."""
    default_templates: ClassVar[tuple[str, ...]] = ("a photo of a {class}.",)
    """The prompt that the method's paper used, where the user and the protocol say nothing."""
    fits: ClassVar[bool] = False
    """Whether `fit` on stored embeddings takes the place of the training loop over videos."""
    fit_uses: ClassVar[tuple[str, ...]] = ()
    """What of a recipe `fit` heeds: `batch_size`, `optimizer`, `schedule.epochs`."""
    learning_rate_factors: ClassVar[dict[str, float]] = {"base": 1.0}
    """The factor on the base rate of each learning-rate group that `trainable` names."""

    def __init__(self, backbone: Backbone, config: AdapterConfig | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.clip = backbone.clip
        """The open_clip model, whose tensors the adapter uses or tunes: they are named `clip.…`."""
        self.config = config if config is not None else self.Config()
        self.preprocessing: Preprocessing = backbone.preprocessing
        self.carried: frozenset[str] = frozenset()
        """Tensors that came from a checkpoint and do not train, such as towers tuned before."""
        self.observe: Callable[[str, Tensor], None] | None = None
        """Called with the name and value of intermediate tensors, where the method shows any."""
        self._gradient_checkpointing = False

    @property
    def tied_classes(self) -> tuple[str, ...] | None:
        """The class names, in order, that the text side is tied to; None when it takes any."""
        return None

    @property
    def tied_frames(self) -> int | None:
        """The number of frames that the weights are tied to; None when T comes from the input."""
        return None

    @property
    def video_identity(self) -> dict[str, Any]:
        """What identifies everything that `encode_frames` and `encode_video` depend on, JSON-able.

        Stored embeddings are reused where it is equal. Unless an adapter knows better, every tensor
        that it stores counts, its options too.
        """
        return {
            **backbone_side(self.backbone),
            "method": self.name,
            "config": self.config.as_dict(),
            "tensors_sha256": tensors_sha256(self.stored()),
        }

    @property
    def text_trains(self) -> bool:
        """Whether training changes what `encode_text` returns, so that it is computed each step."""
        return False

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Any:
        """K lists of prompts, one list a class (an ensemble if longer than 1), for `score`.

        Computed once per label set where the text side is frozen.
        """
        raise NotImplementedError

    def encode_video(self, frames: Tensor) -> Any:
        """Normalised float frames (B,T,C,H,W) to the video's representation."""
        raise NotImplementedError

    def score(self, video: Any, text: Any) -> Tensor:
        """Logits (B,K) in float32."""
        raise NotImplementedError

    def fit(
        self,
        embeddings: Tensor,
        targets: Tensor,
        prompts: Sequence[Sequence[str]],
        fitting: Fitting,
        progress: Progress = no_progress,
    ) -> Fitted:
        """Learn from stored video embeddings, where the class says that it `fits`.

        embeddings: (N,E), L2 normalised, float32; targets: (N,) class indices; prompts: one list a
        class, in the order of the indices.
        """
        raise NotImplementedError

    def embedding(self, video: Any) -> Tensor:
        """The one vector (B,E) that stands for each video, from what `encode_video` gave.

        Raises UsageError for a method whose representation is no such vector and that names none.
        """
        if not isinstance(video, Tensor) or video.ndim != 2:
            raise UsageError(f"{self.name} has no single vector for a video to put on a map")
        return video

    def tokens_before_patches(self, frames: int) -> int:
        """How many of the method's own tokens stand between the CLS token and the patches of a
        frame, in the attention of the image tower's last block, for videos of T frames."""
        return 0

    def penalty(self, frames: Tensor, video: Any) -> Tensor | None:
        """What training adds to the loss of each video (B,): a regulariser, where there is one.

        frames: (B,T,C,H,W); video: what `encode_video` gave for them.
        """
        return None

    def trainable(self) -> dict[str, Trainable]:
        """The tensors that train, by their name in `named_parameters`; nothing else may change."""
        return {}

    def stored(self) -> dict[str, Tensor]:
        """The tensors that a checkpoint must hold: what trains, and what is carried along."""
        own = self.state_dict(keep_vars=True)
        return {name: own[name] for name in [*self.trainable(), *sorted(self.carried)]}

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Before `load_tensors`: take the shapes that the config does not tell, if any."""

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put tensors in place by their names, which must be known and of the right shape.

        Those that do not train are carried into the next checkpoint. The backbone is fingerprinted
        before its tensors change: a checkpoint names the base that it adds to.
        """
        if any(name.startswith("clip.") for name in tensors):
            _ = self.backbone.weights_sha256
        own = self.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, value in tensors.items():
                own[name].copy_(value)
        self.carried |= frozenset(tensors) - frozenset(self.trainable())

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raises ComparisonRefused for other classes, or another order, than the text's own."""
        tied = self.tied_classes
        if tied is None or tuple(classes) == tied:
            return
        foreign = [name for name in classes if name not in tied]
        raise ComparisonRefused(
            f"this {self.name} has a text context for each of its training classes, "
            "and cannot score others",
            found=f"{len(classes)} classes, {_some(foreign)}" if foreign else "another order",
            expected=f"its own {len(tied)} classes: {_some(tied)}",
            hint="train with a context that all classes share to score other classes",
        )

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks are computed again in the backward pass, to save memory."""
        return self._gradient_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enable: bool) -> None:
        self._gradient_checkpointing = enable
        if hasattr(self.clip, "set_grad_checkpointing"):
            self.clip.set_grad_checkpointing(enable)

    def _run(self, function: Callable[..., Any], *inputs: Any) -> Any:
        """`function(*inputs)`, checkpointed where that is asked for and gradients are computed."""
        if self._gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(function, *inputs, use_reentrant=False)
        return function(*inputs)

    def _show(self, name: str, value: Tensor) -> Tensor:
        if self.observe is not None:
            self.observe(name, value)
        return value

    def logit_scale(self) -> Tensor:
        """exp(logit_scale) of the backbone."""
        return self.clip.logit_scale.exp()

    def freeze_all_but_trainable(self) -> None:
        """Set `requires_grad` exactly on what `trainable` names."""
        training = {id(entry.parameter) for entry in self.trainable().values()}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in training)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device


def _require_kind(option: str, value: Any, default: Any) -> None:
    """Raises SpecError for a value of another kind than the option's default, or without bounds."""
    kinds = {bool: bool, int: int, float: (int, float), str: str, tuple: tuple}
    kind = kinds.get(type(default))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    wrong = kind is not None and not isinstance(value, kind)
    wrong |= isinstance(value, bool) and type(default) in (int, float)
    if wrong or (number and not abs(value) < float("inf")):
        raise SpecError(
            f"the option {option!r} has another kind of value",
            found=repr(value)[:80],
            expected=f"such as {default!r}",
        )


def backbone_side(backbone: Backbone) -> dict[str, Any]:
    """What identifies an image tower that is as the backbone brought it."""
    return {
        "backbone": backbone.name,
        "quick_gelu": backbone.quick_gelu,
        "weights_sha256": backbone.weights_sha256,
    }


def _some(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
