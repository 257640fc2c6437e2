"""The weights that training begins with: the backbone's, or an earlier checkpoint's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.encoding.model import LoadedMethod, load_method
from vclip_cli.engine.specs import ModelSpec
from vclip_cli.models.checkpoint import read_checkpoint, read_info, refuse_foreign_backbone


def load_start(spec: ModelSpec, start_from: Path | None, default_backbone: str) -> LoadedMethod:
    """The method to train, with the tensors that an earlier checkpoint brings.

    A checkpoint of the same method gives all its tensors, one of another method those that both
    have: the towers of a `vifi-clip` under a `vl-prompt` (ViFi-CLIP's bridge and prompt). The new
    checkpoint carries them, so that it needs nothing but the plain backbone. Raises WeightsError
    when nothing fits.
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
