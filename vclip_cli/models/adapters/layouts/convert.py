"""From the papers' released checkpoints to ours: every tensor is used, or dropped for a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vclip_cli.common.errors import UsageError, WeightsError, did_you_mean
from vclip_cli.models.adapters.layouts.rules import Layout, Reading, read_layout, unknown_names
from vclip_cli.models.backbone import Backbone, load_backbone
from vclip_cli.models.checkpoint import save_checkpoint
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method
from vclip_cli.models.tensors import check_tensors, read_tensor_file, state_dict_of

ANY_WEIGHTS = "random"
"""The base weights of a checkpoint that holds every tensor itself."""
_LAYOUTS = Path(__file__).parent


@dataclass(frozen=True)
class ConversionReport:
    """What happened to each entry of the source.

    used: names of the source's entries. dropped: those that were not needed, and the reason.
    missing: our tensors that the source lacks, and where they come from. sha256: of the new file.
    """

    method: str
    layout: str
    backbone: str
    config: dict[str, Any]
    used: list[str]
    dropped: dict[str, str]
    missing: dict[str, str]
    sha256: str


def convert_checkpoint(
    source: Path,
    out: Path,
    *,
    kind: str | None = None,
    backbone_name: str,
    pretrained: str | None = None,
    classes: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> ConversionReport:
    """Write one of our checkpoints from a released file of X-CLIP, ViFi-CLIP or Vita-CLIP.

    kind: the method, where the names of the tensors do not tell it.
    pretrained: the base weights, needed where the file lacks some: ViFi-CLIP's files never hold the
      token embedding table. Tensors of a frozen tower that equal the base's are not written; a file
      that holds every tensor needs no base.
    classes: of a class-specific text context, in training order. Without them, the names are read
      from the file where it tells them, in lower case and without underscores.
    options: of the method, over what the file says, such as where Vita-CLIP's class name stands.

    Raises WeightsError for a damaged file, an unknown name, a missing part or a wrong shape;
    UsageError where base weights or classes have to be named; StorageError.
    """
    source, where = Path(source), str(source)
    content = read_tensor_file(source)
    theirs = _strip_prefix(state_dict_of(content, where), where)
    layout = _find_layout(kind, list(theirs), where)
    reading, config = _read(layout, theirs, _settings_of(content), where)
    backbone = _quick_gelu_backbone(backbone_name, pretrained or ANY_WEIGHTS)
    if layout.class_names is not None and config.get("class_specific"):
        config["classes"] = layout.class_names(classes, theirs, reading, backbone, where)
    adapter = _build(layout.method, backbone, config)
    own = adapter.state_dict()
    foreign = [name for name in reading.tensors if name not in own]
    if foreign:
        their_names = [origin for name in foreign for origin in reading.origins[name]]
        raise unknown_names(their_names, f"{layout.title} on {backbone.name}", where)

    dropped = {**_other_entries(content), **reading.dropped}
    tensors = reading.tensors
    if options:
        adapter = _build(layout.method, backbone, {**config, **options})
        own = adapter.state_dict()
        tensors = {name: value for name, value in tensors.items() if name in own}
        dropped |= _reasons(reading, set(reading.tensors) - set(tensors), "switched off by option")
    missing = _missing(adapter, tensors, pretrained, where)
    check_tensors({name: own[name] for name in own if name in tensors}, tensors, where)
    if pretrained is not None:
        frozen = set(tensors) - set(adapter.trainable())
        equal = {name for name in frozen if torch.equal(tensors[name], own[name])}
        tensors = {name: value for name, value in tensors.items() if name not in equal}
        dropped |= _reasons(reading, equal, "equal to the base weights")
    adapter.preprocessing = layout.preprocessing(backbone.preprocessing.size)
    sha256 = save_checkpoint(
        Path(out),
        adapter,
        base_sha256=backbone.weights_sha256,
        tensors=tensors,
        training={"converted_from": source.name, "layout": layout.title},
    )
    return ConversionReport(
        method=layout.method,
        layout=layout.title,
        backbone=backbone.name,
        config=adapter.config.as_dict(),
        used=[name for name in theirs if name not in dropped],
        dropped=dropped,
        missing=missing,
        sha256=sha256,
    )


def _strip_prefix(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    stripped = {name.removeprefix("module."): value for name, value in tensors.items()}
    if len(stripped) != len(tensors):
        raise WeightsError("tensors occur both with and without the prefix 'module.'", where=where)
    return stripped


def list_layouts() -> list[Layout]:
    """The known layouts of all methods, from the files of `adapters/layouts/`."""
    names = sorted(path.stem for path in _LAYOUTS.glob("*_layouts.py"))
    modules = [import_module(f"vclip_cli.models.adapters.layouts.{name}") for name in names]
    return [layout for module in modules for layout in module.LAYOUTS]


def _find_layout(kind: str | None, names: Sequence[str], where: str) -> Layout:
    layouts = list_layouts()
    methods = sorted({layout.method for layout in layouts})
    if kind is not None and kind not in methods:
        raise UsageError(
            f"released checkpoints of {kind!r} are not known", hint=did_you_mean(kind, methods)
        )
    of_kind = [layout for layout in layouts if kind in (None, layout.method)]
    fitting = [layout for layout in of_kind if layout.fits(names)]
    if fitting or kind is not None:
        return max(fitting or of_kind, key=lambda layout: layout.count_known(names))
    raise WeightsError(
        "the file is no released checkpoint of a known method",
        where=where,
        found="tensors such as " + ", ".join(names[:3]),
        expected=", ".join(methods),
        hint="plain CLIP weights need no conversion: give them to --pretrained",
    )


def _read(
    layout: Layout, theirs: Mapping[str, Tensor], settings: Mapping[str, Any], where: str
) -> tuple[Reading, dict[str, Any]]:
    try:
        reading = read_layout(layout, theirs, where)
        return reading, layout.config(reading, settings)
    except (IndexError, RuntimeError, ValueError) as error:
        raise WeightsError(
            f"tensors of the file have shapes that {layout.title} does not have",
            where=where,
            found=str(error)[:200],
        ) from None


def _settings_of(content: Any) -> Mapping[str, Any]:
    settings = content.get("config") if isinstance(content, Mapping) else None
    return settings if isinstance(settings, Mapping) else {}


def _other_entries(content: Any) -> dict[str, str]:
    """Entries that are no weights of the model: the training state, and what is no tensor."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            beside = {str(name): "no weight: state of the training run" for name in content}
            del beside[key]
            if _settings_of(content):
                beside["config"] = "no weight: settings, read for the options of the method"
            return beside | _no_tensors(content[key])
    return _no_tensors(content)


def _no_tensors(entries: Mapping[Any, Any]) -> dict[str, str]:
    return {
        str(name): "no tensor" for name, value in entries.items() if not isinstance(value, Tensor)
    }


def _reasons(reading: Reading, names: set[str], why: str) -> dict[str, str]:
    """`why` for each entry of the source that only `names` of ours were made from."""
    origins = reading.origins
    kept = {origin for name in origins if name not in names for origin in origins[name]}
    unused = (origin for name in sorted(names) for origin in origins.get(name, []))
    return {origin: why for origin in unused if origin not in kept}


def _quick_gelu_backbone(name: str, pretrained: str) -> Backbone:
    """The backbone with QuickGELU: all released checkpoints were trained with it."""
    import open_clip

    backbone = load_backbone(name, pretrained)
    if backbone.quick_gelu:
        return backbone
    variant = f"{backbone.name}-quickgelu"
    if variant in open_clip.list_models():
        return load_backbone(variant, pretrained)
    raise WeightsError(
        f"the backbone {name!r} has no QuickGELU, which the released weights were trained with",
        hint="name one of open_clip's models that end in -quickgelu",
    )


def _build(method: str, backbone: Backbone, config: Mapping[str, Any]) -> Adapter:
    adapter_class = find_method(method)
    with torch.random.fork_rng(devices=[]):
        return adapter_class(backbone, adapter_class.Config.from_dict(dict(config)))


def _missing(
    adapter: Adapter, tensors: Mapping[str, Tensor], pretrained: str | None, where: str
) -> dict[str, str]:
    """Our tensors that the source lacks; towers and the token table can come from the base."""
    lacking = [n for n, v in adapter.state_dict().items() if n not in tensors and v.numel()]
    present = {_tower(name) for name in tensors}
    needed = [name for name in lacking if _tower(name) is None or _tower(name) in present]
    if needed:
        raise WeightsError(
            "the file lacks tensors that its method needs",
            where=where,
            found=f"{len(needed)} missing ({', '.join(needed[:3])})",
            hint="check --backbone: the architecture must be the one that these weights belong to",
        )
    if lacking and pretrained is None:
        towers = sorted({str(_tower(name)) for name in lacking})
        raise UsageError(
            "the released file does not hold everything: name the base weights as well",
            where=where,
            found=f"no {', no '.join(towers)}",
            hint="for example --pretrained openai",
        )
    return {name: f"{_tower(name)} of the base weights {pretrained!r}" for name in lacking}


def _tower(name: str) -> str | None:
    """The part of CLIP that a tensor belongs to; None for a tensor of the method."""
    if not name.startswith("clip."):
        return None
    if "token_embedding" in name:
        return "token embedding table"
    if "logit_scale" in name:
        return "logit scale"
    return "image tower" if name.startswith("clip.visual.") else "text tower"
