"""Checkpoints: the trained tensors as .safetensors, and all that is needed to use them.

The description (method, config, backbone, preprocessing, classes, …) stands in the header of the
tensor file, so that one file is enough, and beside it as `.json` for people to read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vclip_cli.common.errors import SpecError, WeightsError
from vclip_cli.common.files import sha256_file, whole_file, write_json
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.common.safe_readers import parse_json
from vclip_cli.models.backbone import SCHEMES, Backbone, load_backbone
from vclip_cli.models.contract import Adapter
from vclip_cli.models.description import check_description
from vclip_cli.models.registry import find_method
from vclip_cli.models.tensors import check_tensors

SCHEMA = 1
HEADER = "vclip"


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
    """Write what trained and is carried (or `tensors`), described; gives the file's sha256.

    base_sha256: hash of the backbone's tensors before training. It is left out where the file holds
    every tensor of the backbone itself: any base of the right architecture will then do. Raises
    StorageError.
    """
    from safetensors.torch import save_file

    if tensors is None:
        tensors = adapter.stored()
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
    except Exception as error:  # the format's reader has no common error for damaged files
        raise WeightsError(
            "the checkpoint cannot be read",
            where=str(path),
            found=str(error)[:200],
            hint="a released checkpoint of a paper becomes one of ours by: vclip convert",
        ) from None
    if header is None:
        raise WeightsError(
            "the file is no checkpoint of vclip: its header lacks the description",
            where=str(path),
            hint="plain CLIP weights go to --pretrained; others are converted by: vclip convert",
        )
    try:
        values = parse_json(header, "the header", error=WeightsError, finite=False)
    except WeightsError as error:
        raise WeightsError(
            "the description in the checkpoint's header is damaged",
            where=str(path),
            found=error.what,
        ) from None
    try:
        if values.get("schema") == SCHEMA:
            check_description(values, str(path))
            return CheckpointInfo(**values)
    except (TypeError, AttributeError) as error:
        raise WeightsError(
            "the description in the checkpoint's header is damaged",
            where=str(path),
            found=str(error)[:200],
        ) from None
    raise WeightsError(
        "the checkpoint is of another version of the format",
        where=str(path),
        found=str(values.get("schema"))[:80],
        expected=str(SCHEMA),
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
    """Raises WeightsError where a checkpoint alone sends for a model of a hub or of a folder.

    A checkpoint may come from anybody; what it names would be fetched without a question.
    """
    if name.startswith(SCHEMES):
        raise WeightsError(
            "the checkpoint was trained on a backbone that is not one of open_clip's own",
            where=str(path),
            found=name[:200],
            hint=f"say that you want it: --backbone {name[:200]}",
        )


def load_adapter(
    path: str | Path, *, backbone: Backbone | None = None, pretrained: str | None = None
) -> Adapter:
    """An adapter in eval mode from one of our checkpoints, on the CPU in float32.

    backbone: a loaded one to build on (its weights are changed where the method tunes the towers);
    pretrained: where the base weights lie now, when not where they lay in training. Raises
    WeightsError when a file is missing, damaged or does not fit, or the base weights differ from
    those that it was trained on.
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
    adapter.make_room(tensors)
    own = adapter.state_dict(keep_vars=True)
    named = {name: own[name] for name in tensors if name in own}
    trained = {name: entry.parameter for name, entry in adapter.trainable().items()}
    check_tensors({**trained, **named}, tensors, str(path))
    adapter.load_tensors(tensors)
    return adapter.eval()
