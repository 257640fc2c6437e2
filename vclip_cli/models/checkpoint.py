"""Checkpoints: the trained tensors as .safetensors, with a description of how to use them.

The description (method, config, backbone, preprocessing, classes, …) is in the header of the tensor
file, so that one file is enough. It is also written beside it, as `.json` for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from torch import Tensor

from vclip_cli.common.errors import SpecError, WeightsError
from vclip_cli.common.files import sha256_file, whole_file, write_json
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.safe_readers import parse_json
from vclip_cli.common.yaml_files import validate_model
from vclip_cli.models.backbone import SCHEMES, Backbone, load_backbone
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method
from vclip_cli.models.tensors import check_tensors

SCHEMA = 1
HEADER = "vclip"

Pixels = Annotated[int, Field(ge=1, le=2048)]
Channels = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3)]
Names = Annotated[list[str], Field(min_length=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Backbone(_Part):
    name: str = Field(min_length=1, max_length=300)
    pretrained: str | None
    weights_sha256: str = Field(pattern="^([0-9a-f]{64})?$")
    quick_gelu: bool


class _Preprocessing(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size: Pixels
    resize_to: Pixels
    resize_mode: Literal["shortest", "squash", "longest"]
    interpolation: Literal["bicubic", "bilinear", "cv2-bilinear"]
    mean: Channels
    std: Channels


class _Evaluation(_Part):
    frames: int = Field(default=8, ge=1)
    clips: int = Field(default=1, ge=1)
    crops: Literal[1, 3] = 1
    rule: Literal["uniform", "random", "dense"] = "uniform"
    stride: int = Field(default=1, ge=1)
    text: str = "natural"


class _Training(_Part):
    videos: dict[str, list[str]] = Field(default_factory=dict)
    unlisted: list[str] = Field(default_factory=list)
    evaluation: _Evaluation = _Evaluation()


class _Description(_Part):
    """The fields of a header's description that are used, with their kinds and bounds."""

    method: str = Field(min_length=1, max_length=100)
    config: dict[str, Any]
    backbone: _Backbone
    preprocessing: _Preprocessing
    classes: Names | None = None
    templates: Names | None = None
    training: _Training = _Training()


@dataclass(frozen=True)
class CheckpointInfo:
    """The description in a checkpoint's header."""

    method: str
    config: dict[str, Any]
    backbone: dict[str, Any]
    preprocessing: dict[str, Any]
    classes: list[str] | None = None
    templates: list[str] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


def save_checkpoint(
    path: Path,
    adapter: Adapter,
    *,
    base_sha256: str,
    tensors: Mapping[str, Tensor] | None = None,
    templates: list[str] | None = None,
    training: dict[str, Any] | None = None,
) -> str:
    """Write an adapter's tensors, or `tensors`, with their description; gives the file's sha256.

    base_sha256: hash of the backbone's tensors before training. It is left out where the file holds
    every tensor of the backbone: any base of the right architecture then works.

    Raises StorageError.
    """
    from safetensors.torch import save_file

    if tensors is None:
        tensors = adapter.checkpoint_tensors()
    if all(f"clip.{name}" in tensors for name in adapter.clip.state_dict()):
        base_sha256 = ""
    info = CheckpointInfo(
        method=adapter.name,
        config=adapter.config.as_dict(),
        backbone={
            "name": adapter.backbone.name,
            "pretrained": adapter.backbone.pretrained,
            "weights_sha256": base_sha256,
            "quick_gelu": adapter.backbone.quick_gelu,
        },
        preprocessing=adapter.preprocessing.as_dict(),
        classes=list(adapter.tied_classes) if adapter.tied_classes else None,
        templates=templates,
        training=training or {},
    )
    stored = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = json.dumps(vars(info), sort_keys=True)
    with whole_file(path) as temporary:
        save_file(stored, temporary, metadata={HEADER: header})
    digest = sha256_file(path)
    write_json(path.with_suffix(".json"), {**vars(info), "tensors_file_sha256": digest})
    return digest


def read_info(path: Path) -> CheckpointInfo:
    """The description of one of our checkpoints. Raises WeightsError for any other file."""
    from safetensors import safe_open

    if not path.is_file():
        raise WeightsError("no such checkpoint", where=str(path))
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {}).get(HEADER)
    except Exception as error:  # the reader has no common class for its errors
        raise WeightsError(
            "the checkpoint cannot be read",
            where=str(path),
            found=str(error)[:200],
            hint="convert a paper's released checkpoint with: vclip convert",
        ) from None
    if header is None:
        raise WeightsError(
            "the file is no checkpoint of vclip: its header has no description",
            where=str(path),
            hint="plain CLIP weights go to --pretrained; others are converted by: vclip convert",
        )
    try:
        values = parse_json(header, "the header", error=WeightsError, finite=False)
    except WeightsError as error:
        raise _damaged(path, error.what) from None
    schema = values.get("schema") if isinstance(values, dict) else None
    if isinstance(values, dict) and schema != SCHEMA:
        raise WeightsError(
            "the checkpoint is of another version of the format",
            where=str(path),
            found=str(schema)[:80],
            expected=str(SCHEMA),
        )
    try:
        validate_model(values, _Description, str(path))
        return CheckpointInfo(**values)
    except SpecError as error:
        raise _damaged(path, error.found, key=f": {error.what}") from None
    except TypeError as error:
        raise _damaged(path, str(error)[:200]) from None


def _damaged(path: Path, found: str | None, key: str = "") -> WeightsError:
    return WeightsError(
        f"the description in the checkpoint's header is damaged{key}", where=str(path), found=found
    )


def read_checkpoint(path: Path, backbone: Backbone) -> tuple[CheckpointInfo, dict[str, Tensor]]:
    """The description and the tensors of a checkpoint, for a backbone that it was trained on.

    Raises WeightsError when the file is missing or damaged, or the backbone is another.
    """
    from safetensors.torch import load_file

    info = read_info(path)
    wanted = info.backbone.get("weights_sha256")
    if wanted and backbone.weights_sha256 != wanted:
        raise WeightsError(
            "the base weights are not those that the checkpoint was trained on",
            where=str(path),
            found=backbone.weights_sha256[:12],
            expected=wanted[:12],
            hint="name the right ones with --backbone and --pretrained",
        )
    if info.backbone.get("quick_gelu", backbone.quick_gelu) != backbone.quick_gelu:
        raise WeightsError(
            "the backbone's activation is not that of the checkpoint: accuracy would suffer",
            where=str(path),
            found="QuickGELU" if backbone.quick_gelu else "GELU",
            expected="GELU" if backbone.quick_gelu else "QuickGELU",
            hint="models with QuickGELU end in -quickgelu",
        )
    return info, load_file(path)


def refuse_foreign_backbone(name: str, path: Path) -> None:
    """Raises WeightsError where a checkpoint names a model of a hub or of a folder.

    A checkpoint may come from anybody, and the model that it names would be downloaded unasked.
    """
    if name.startswith(SCHEMES):
        raise WeightsError(
            "the checkpoint was trained on a backbone that is not one of open_clip's own",
            where=str(path),
            found=name[:200],
            hint=f"if you trust it: --backbone {name[:200]}",
        )


def load_adapter(
    path: str | Path, *, backbone: Backbone | None = None, pretrained: str | None = None
) -> Adapter:
    """An adapter in eval mode from one of our checkpoints, on the CPU in float32.

    backbone: a loaded one to build on (its weights change where the method tunes the towers).
    pretrained: the place of the base weights, where it is not that of the training. Raises
    WeightsError when a file is missing, damaged or does not fit, or when the base weights are not
    those of the training.
    """
    path = Path(path)
    if backbone is None:
        base = read_info(path).backbone
        refuse_foreign_backbone(base["name"], path)
        backbone = load_backbone(base["name"], pretrained or base["pretrained"])
    info, tensors = read_checkpoint(path, backbone)
    method = find_method(info.method)
    try:
        adapter = method(backbone, method.Config.from_dict(info.config))
    except SpecError as error:
        raise WeightsError(
            f"the config in the checkpoint's header makes no sense: {error.what}",
            where=str(path),
            found=error.found,
            hint=error.hint,
        ) from None
    adapter.preprocessing = Preprocessing.from_dict(info.preprocessing)
    adapter.resize_for(tensors)
    own = adapter.state_dict(keep_vars=True)
    named = {name: own[name] for name in tensors if name in own}
    trained = {name: entry.parameter for name, entry in adapter.trainable().items()}
    check_tensors({**trained, **named}, tensors, str(path))
    adapter.load_tensors(tensors)
    return adapter.eval()
