"""Methods by name: one file of `models/adapters/`, or of `adapters/` in a user's own folder."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vclip_cli.common.errors import SpecError, UsageError, did_you_mean
from vclip_cli.common.files import whole_file
from vclip_cli.common.resources import (
    import_user_file,
    list_python,
    plugin_class,
    project_folder,
)

if TYPE_CHECKING:
    from vclip_cli.models.contract import Adapter

_SHIPPED = Path(__file__).parent / "adapters"
_TEMPLATE = _SHIPPED / "_template.py"
_REQUIRED = ("summary", "encode_text", "encode_video", "score")
_OF_FRAMES = ("encode_frames", "pool_frames")
KINETICS_CLASSES = 400
"""The number of classes that weights of each class are counted for."""
SHOTS = 16
"""Training videos a class that a cache of embeddings is counted for."""


def list_methods() -> dict[str, Path]:
    """Every method: name to file, a user's own file before a shipped one. Imports nothing."""
    found = list_python("adapters", _SHIPPED)
    return {stem.replace("_", "-"): path for stem, path in found.items()}


def find_method(name: str) -> type[Adapter]:
    """The adapter class of a method.

    Raises UsageError with the near misses for an unknown name, SpecError for a broken file.
    """
    known = list_methods()
    if name not in known:
        raise UsageError(f"unknown method {name!r}", hint=did_you_mean(name, known))
    return adapter_class(_import_file(known[name]), known[name])


def _import_file(path: Path) -> ModuleType:
    if path.parent == _SHIPPED:
        return importlib.import_module(f"vclip_cli.models.adapters.{path.stem}")
    return import_user_file(path, "adapter")


def adapter_class(module: ModuleType, path: Path) -> type[Adapter]:
    """The one adapter class that a module defines itself. Raises SpecError."""
    from vclip_cli.models.contract import Adapter

    found = plugin_class(module, path, Adapter, path.stem.replace("_", "-"))
    _check_adapter(found, path)
    return found


def _check_adapter(found: type[Adapter], path: Path) -> None:
    """Raises SpecError for an adapter that lacks a part, or has one that is never called."""
    from vclip_cli.models.contract import Adapter

    by_frame = found.cacheable == "frame"
    required = (*_REQUIRED, *(_OF_FRAMES if by_frame else ()))
    missing = [
        name for name in required if getattr(found, name, None) is getattr(Adapter, name, None)
    ]
    if missing:
        problem, hint = f"lacks {', '.join(missing)}", "for a start: vclip methods new NAME"
    elif by_frame and _depth(found, "encode_video") < min(
        _depth(found, name) for name in (*_OF_FRAMES, "cacheable")
    ):
        problem = "has an encode_video that is not called while cacheable is 'frame'"
        hint = "set cacheable = 'none', or change encode_frames or pool_frames instead"
    else:
        return
    raise SpecError(
        f"the adapter {found.__name__} {problem}",
        where=f"{path}:{inspect.getsourcelines(found)[1]}",
        hint=hint,
    )


def _depth(found: type[Adapter], name: str) -> int:
    """How many classes lie between an adapter and the nearest base that defines a name."""
    return next(index for index, base in enumerate(found.__mro__) if name in vars(base))


def write_new_method(name: str, out: Path | None = None) -> Path:
    """Write a commented starting point of an adapter, which works at once; gives its file.

    out: the file, or by default `.vclip/adapters/NAME.py` of the project. Raises UsageError for a
    name that cannot be a method's or is taken, and for a file that exists.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(
            f"{name!r} cannot be the name of a method",
            expected="lower-case letters and digits, words joined by '-', such as my-method",
        )
    stem = name.replace("-", "_")
    path = out if out is not None else project_folder() / "adapters" / f"{stem}.py"
    if path.suffix != ".py" or path.stem.replace("_", "-") != name:
        raise UsageError(
            "a method's file has the method's name", found=path.name, expected=f"{stem}.py"
        )
    if path.exists():
        raise UsageError("the file exists, and is not overwritten", where=str(path))
    taken = list_methods().get(name)
    if taken is not None:
        raise UsageError(f"there is a method {name!r} already", where=str(taken))
    class_name = "".join(word.capitalize() for word in name.split("-"))
    text = _TEMPLATE.read_text(encoding="utf-8")
    text = text.replace("NewMethod", class_name).replace("new-method", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def count_trainable(backbone: str = "ViT-B-16-quickgelu") -> dict[str, dict[str, Any]]:
    """Title to config and number of trainable parameters of each method, at its paper's setting.

    The weights are random: only shapes matter. See `Adapter.variants_to_count`.
    """
    from vclip_cli.models.backbone import load_backbone

    base = load_backbone(backbone, "random")
    classes = tuple(f"class {number}" for number in range(KINETICS_CLASSES))
    counts: dict[str, dict[str, Any]] = {}
    for name in list_methods():
        for title, adapter in find_method(name).variants_to_count(base, classes, SHOTS).items():
            trainable = sum(entry.parameter.numel() for entry in adapter.trainable().values())
            config = {k: v for k, v in adapter.config.as_dict().items() if k != "classes"}
            counts[title] = {"backbone": backbone, "config": config, "trainable": trainable}
    return counts
