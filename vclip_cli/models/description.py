"""What the description in a checkpoint's header may hold: right kinds, and sizes that exist."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from vclip_cli.common.errors import SpecError, WeightsError
from vclip_cli.common.yaml_files import validate_model

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


class Description(_Part):
    """The header's description, as far as something is done with it."""

    method: str = Field(min_length=1, max_length=100)
    config: dict[str, Any]
    backbone: _Backbone
    preprocessing: _Preprocessing
    classes: Names | None = None
    templates: Names | None = None
    training: _Training = _Training()


def check_description(values: Any, where: str) -> None:
    """Raises WeightsError, naming the key, for a description that no checkpoint of ours has."""
    try:
        validate_model(values, Description, where)
    except SpecError as error:
        raise WeightsError(
            f"the description in the checkpoint's header is damaged: {error.what}",
            where=where,
            found=error.found,
        ) from None
