"""What every adapter offers. One file in `models/adapters/` is one method and carries its name.

An adapter never sees datasets, splits, protocols or metrics: prompts and frames go in, logits come
out. Shapes: B batch, T frames, C H W, K classes, E embedding width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from vclip_cli.common.errors import ComparisonRefused, SpecError, UsageError, did_you_mean
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.fitting import Fitted, Fitting
from vclip_cli.models.tensors import tensors_sha256
from vclip_cli.models.towers import BlockRunner, has_hooks

Prompts = Sequence[Sequence[str]]
"""A list of prompts for each of K classes; a list of several prompts is an ensemble."""


class Trainable(NamedTuple):
    """A tensor that trains: its learning-rate group, and whether weight decay applies to it."""

    parameter: nn.Parameter
    group: str = "base"
    decay: bool = True


@dataclass(frozen=True)
class AdapterConfig:
    """The options of a method; each adapter derives its own. Plain values only, for checkpoints."""

    def as_dict(self) -> dict[str, Any]:
        """A JSON-able form."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
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
                check_kind(field.name, plain[field.name], field.default)
        return cls(**plain)


class Adapter(nn.Module):
    """The base of all methods: a backbone, a config, and the calls of the contract."""

    name: ClassVar[str]
    """The method's name on the command line: the file's name with `-` for `_`."""
    summary: ClassVar[str]
    """One line for `vclip methods`."""
    paper: ClassVar[str] = ""
    Config: ClassVar[type[AdapterConfig]] = AdapterConfig
    cacheable: ClassVar[Literal["frame", "video", "none"]] = "none"
    """What may be stored and reused while the weights stay the same. `video`: the result of
    `encode_video`. `frame`: that of `encode_frames` (B,T,C,H,W)→(B,T,E), which the adapter then
    has, together with `pool_frames` (B,T,E)→(B,E)."""
    default_templates: ClassVar[tuple[str, ...]] = ("a photo of a {class}.",)
    """The prompts of the method's paper, where neither the user nor the protocol names any."""
    fits: ClassVar[bool] = False
    """Whether `fit` on stored embeddings replaces the training loop over videos."""
    fit_uses: ClassVar[tuple[str, ...]] = ()
    """Recipe fields that `fit` uses: of `batch_size`, `optimizer`, `schedule.epochs`."""
    learning_rate_factors: ClassVar[dict[str, float]] = {"base": 1.0}
    """The factor on the base rate of each learning-rate group that `trainable` names."""

    config: AdapterConfig
    clip: Any
    """The open_clip model; its tensors are named `clip.…`. Untyped, as open_clip's parts are."""

    def __init__(self, backbone: Backbone, config: AdapterConfig | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.clip = backbone.clip
        self.config = config if config is not None else self.Config()
        self.preprocessing: Preprocessing = backbone.preprocessing
        self.loaded_frozen: frozenset[str] = frozenset()
        """Tensors that were loaded but do not train, such as towers that were tuned before."""
        self.runner = BlockRunner()

    # What the weights are tied to -----------------------------------------------------------------

    @property
    def tied_classes(self) -> tuple[str, ...] | None:
        """The class names, in order, that the text side is tied to; None when it takes any."""
        return None

    @property
    def tied_frames(self) -> int | None:
        """The number of frames that the weights are tied to; None when T comes from the input."""
        return None

    def check_classes(self, classes: Sequence[str]) -> None:
        """Raises ComparisonRefused for other classes, or another order, than the tied ones."""
        tied = self.tied_classes
        if tied is None or tuple(classes) == tied:
            return
        foreign = [name for name in classes if name not in tied]
        raise ComparisonRefused(
            f"this {self.name} has a text context for each of its training classes, "
            "and cannot score others",
            found=f"{len(classes)} classes, {_few(foreign)}" if foreign else "another order",
            expected=f"its own {len(tied)} classes: {_few(tied)}",
            hint="train with a context that all classes share to score other classes",
        )

    @property
    def video_identity(self) -> dict[str, Any]:
        """What identifies everything that stored video embeddings depend on, JSON-able.

        Embeddings are reused where it is equal. By default it covers the backbone, the options and
        every tensor of a checkpoint.
        """
        return {
            **backbone_identity(self.backbone),
            "method": self.name,
            "config": self.config.as_dict(),
            "tensors_sha256": tensors_sha256(self.checkpoint_tensors()),
        }

    # Encoding and scoring -------------------------------------------------------------------------

    @property
    def text_trains(self) -> bool:
        """Whether training changes `encode_text`, so that it runs in every step."""
        return False

    def encode_text(self, prompts: Prompts) -> Any:
        """K lists of prompts to the text's representation, for `score`.

        Called once per label set where the text side is frozen.
        """
        raise NotImplementedError

    def encode_video(self, frames: Tensor) -> Any:
        """Normalised float frames (B,T,C,H,W) to the video's representation."""
        raise NotImplementedError

    def score(self, video: Any, text: Any) -> Tensor:
        """Logits (B,K) in float32."""
        raise NotImplementedError

    def embedding(self, video: Any) -> Tensor:
        """The one vector (B,E) of each video, from the result of `encode_video`.

        Raises UsageError for a method whose representation is no such vector.
        """
        if not isinstance(video, Tensor) or video.ndim != 2:
            raise UsageError(f"{self.name} has no single vector for a video to put on a map")
        return video

    def tokens_before_patches(self, frames: int) -> int:
        """The method's own tokens between a frame's CLS token and its patches.

        They are counted in the attention of the image tower's last block, for videos of T frames.
        """
        return 0

    def logit_scale(self) -> Tensor:
        """exp(logit_scale) of the backbone."""
        return self.clip.logit_scale.exp()

    def one_by_one(self, encode: Callable[[Tensor], Tensor], videos: Tensor) -> Tensor:
        """`encode` of videos (B,T,…), of each alone where that is faster, joined along B.

        On a CPU the activations of one video stay in the cache. A GPU is faster with the whole
        batch, and so is the backward pass.
        """
        if torch.is_grad_enabled() or videos.device.type != "cpu" or len(videos) == 1:
            return encode(videos)
        if self.observe is not None or has_hooks(self):
            return encode(videos)
        return torch.cat([encode(video) for video in videos.split(1)])

    # Training -------------------------------------------------------------------------------------

    def trainable(self) -> dict[str, Trainable]:
        """The tensors that train, by their name in `named_parameters`; nothing else may change."""
        return {}

    def freeze_all_but_trainable(self) -> None:
        """Set `requires_grad` on exactly the tensors that `trainable` names."""
        training = {id(entry.parameter) for entry in self.trainable().values()}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in training)

    def penalty(self, frames: Tensor, video: Any) -> Tensor | None:
        """A regulariser that training adds to the loss of each video (B,); None without one.

        frames: (B,T,C,H,W); video: the result of `encode_video` for them.
        """
        return None

    def fit(
        self, embeddings: Tensor, targets: Tensor, prompts: Prompts, fitting: Fitting
    ) -> Fitted:
        """Learn from stored video embeddings, where the class says that it `fits`.

        embeddings: (N,E), L2 normalised, float32; targets: (N,) class indices; prompts: one list a
        class, in the order of the indices.
        """
        raise NotImplementedError

    @classmethod
    def variants_to_count(
        cls, backbone: Backbone, classes: tuple[str, ...], shots: int
    ) -> dict[str, Adapter]:
        """The adapters whose trainable parameters `vclip methods --count` counts, by title.

        classes, shots: for a method whose weights grow with the classes or the training videos.
        """
        return {cls.name: cls(backbone)}

    # Checkpoints ----------------------------------------------------------------------------------

    def checkpoint_tensors(self) -> dict[str, Tensor]:
        """The tensors that a checkpoint must hold: all that train, and `loaded_frozen`."""
        own = self.state_dict(keep_vars=True)
        return {name: own[name] for name in [*self.trainable(), *sorted(self.loaded_frozen)]}

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """Before `load_tensors`: give own tensors the shapes that only the checkpoint tells."""

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors into those of the same names, which must exist and have the same shapes.

        Those that do not train go into the next checkpoint as well. The backbone's hash is taken
        before its tensors change: a checkpoint names the base weights that it builds on.
        """
        if any(name.startswith("clip.") for name in tensors):
            _ = self.backbone.weights_sha256
        own = self.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, value in tensors.items():
                own[name].copy_(value)
        self.loaded_frozen |= frozenset(tensors) - frozenset(self.trainable())

    # How blocks run -------------------------------------------------------------------------------

    @property
    def observe(self) -> Callable[[str, Tensor], None] | None:
        """Called with the name and value of intermediate tensors; None for nobody."""
        return self.runner.observe

    @observe.setter
    def observe(self, observer: Callable[[str, Tensor], None] | None) -> None:
        self.runner.observe = observer

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether blocks are computed again in the backward pass, to save memory."""
        return self.runner.checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, enable: bool) -> None:
        self.runner.checkpointing = enable
        if hasattr(self.clip, "set_grad_checkpointing"):
            self.clip.set_grad_checkpointing(enable)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.parameters()).device


def check_kind(option: str, value: Any, default: Any) -> None:
    """Raises SpecError for a value of another kind than the option's default, inf or nan."""
    kinds = {bool: bool, int: int, float: (int, float), str: str, tuple: tuple}
    kind: Any = kinds.get(type(default))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    wrong = kind is not None and not isinstance(value, kind)
    wrong |= isinstance(value, bool) and type(default) in (int, float)
    if wrong or (number and not abs(value) < float("inf")):
        raise SpecError(
            f"the option {option!r} has another kind of value",
            found=repr(value)[:80],
            expected=f"such as {default!r}",
        )


def backbone_identity(backbone: Backbone) -> dict[str, Any]:
    """What identifies the unchanged image tower of a backbone."""
    return {
        "backbone": backbone.name,
        "quick_gelu": backbone.quick_gelu,
        "weights_sha256": backbone.weights_sha256,
    }


def _few(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
