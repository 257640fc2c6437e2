"""Golden cases: what the reference implementations computed, and the way from a case to an adapter.

The layout of a case is described in `parity/README.md`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vclip_cli.models import load_adapter
from vclip_cli.models.adapters.layouts.convert import ConversionReport, convert_checkpoint
from vclip_cli.models.backbone import load_backbone
from vclip_cli.models.contract import Adapter

SHIPPED = Path(__file__).parents[1] / "parity"
TOLERANCE = {"rtol": 1e-5, "atol": 2e-5}
OPEN_CLIP_HEAD = 64
KNOWN_SIZES = {
    *("embed_dim", "image_size", "patch_size", "text_width", "text_layers"),
    *("vision_width", "vision_layers"),
    *("num_frames", "num_global_prompts", "text_num_prompts", "CSC"),  # Vita-CLIP
    *("T", "mit_layers", "prompts_layers"),  # X-CLIP
}


def read_meta(folder: Path, name: str) -> dict[str, Any]:
    """The settings of a case: sizes, classes, the method's name."""
    meta: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return meta


class Case:
    """A case's tensors and settings, and the record of what has been compared."""

    def __init__(
        self, source: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.name, self.folder = name, tmp_path
        self.meta = read_meta(source, name)
        self.tensors = load_file(source / f"{name}.safetensors")
        self.outputs = {k[7:]: v for k, v in self.tensors.items() if k.startswith("output/")}
        self.compared: dict[str, float] = {}
        self.left_out: set[str] = set()
        self.backbone_name = f"parity-{name}"
        monkeypatch.setenv("VCLIP_PATH", str(tmp_path))
        self.write_architecture()

    def write_architecture(self) -> None:
        """Write the case's architecture as a backbone of the user's own; fails on unknown sizes."""
        arch = self.meta["arch"]
        unknown = set(arch) - KNOWN_SIZES
        assert not unknown, f"{self.name}: unknown sizes {sorted(unknown)}"
        assert self.meta["heads"].startswith(f"width//{OPEN_CLIP_HEAD}"), self.meta["heads"]
        config = {
            "embed_dim": arch["embed_dim"],
            "quick_gelu": True,
            "vision_cfg": {
                "image_size": arch["image_size"],
                "patch_size": arch["patch_size"],
                "width": arch["vision_width"],
                "layers": arch["vision_layers"],
                "head_width": OPEN_CLIP_HEAD,
            },
            "text_cfg": {
                "context_length": self.meta.get("context_length", 77),
                "vocab_size": self.meta.get("vocab_size", 49408),
                "width": arch["text_width"],
                "layers": arch["text_layers"],
                "heads": arch["text_width"] // OPEN_CLIP_HEAD,
            },
        }
        path = self.folder / "backbones" / f"{self.backbone_name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(config))

    def _full_table(self, rows: Tensor) -> Tensor:
        table = torch.zeros(self.meta.get("vocab_size", 49408), rows.shape[1])
        table[self.tensors["vocab/ids"]] = rows.float()
        return table

    def state(self) -> dict[str, Tensor]:
        """What the released checkpoint's `model` holds."""
        state = {k[6:]: v.float() for k, v in self.tensors.items() if k.startswith("state/")}
        for key, rows in self.tensors.items():
            if key.startswith("state_rows/"):
                state[key[11:]] = self._full_table(rows)
        return state

    def base_weights(self) -> str | None:
        """A file of base CLIP weights where the case has some of its tensors, else None."""
        given = {
            key[10:]: self._full_table(rows)
            for key, rows in self.tensors.items()
            if key.startswith("base_rows/")
        }
        if not given:
            return None
        weights = load_backbone(self.backbone_name, "random").clip.state_dict() | given
        path = self.folder / "base.safetensors"
        save_file(weights, path)
        return str(path)

    def convert(
        self, state: dict[str, Tensor] | None = None, **arguments: Any
    ) -> tuple[Adapter, ConversionReport]:
        """The adapter from a released file with `state`, laid out as the authors' code saves it."""
        released, ours = self.folder / "released.pth", self.folder / "ours.safetensors"
        settings = {"TRAINER": {"ViFi_CLIP": self.meta.get("cfg_TRAINER_ViFi_CLIP", {})}}
        content = {"model": state or self.state(), "optimizer": {}, "epoch": 3, "config": settings}
        torch.save(content, released)
        report = convert_checkpoint(
            released,
            ours,
            backbone_name=self.backbone_name,
            pretrained=self.base_weights(),
            **arguments,
        )
        accounted = {name.removeprefix("module.") for name in content["model"]}
        assert accounted | {"optimizer", "epoch", "config"} == {*report.used, *report.dropped}
        return load_adapter(ours), report

    def expect(self, name: str, value: Tensor | None) -> None:
        """Compare with the reference's output of that name, where the case has it."""
        if name not in self.outputs:
            return
        assert value is not None, f"{self.name}: {name} was not computed"
        expected = self.outputs[name]
        value = value.reshape(expected.shape).float()
        self.compared[name] = (value - expected).abs().max().item()
        torch.testing.assert_close(
            value, expected, **TOLERANCE, msg=lambda text: f"{self.name}: {name}: {text}"
        )

    def leave_out(self, pattern: str) -> None:
        """Outputs that are given for information, with no claim on another implementation."""
        self.left_out |= {name for name in self.outputs if re.fullmatch(pattern, name)}

    def finish(self) -> None:
        """Every output has been compared or left out on purpose, the logits among the compared."""
        forgotten = set(self.outputs) - set(self.compared) - self.left_out
        assert not forgotten, f"{self.name}: not compared: {sorted(forgotten)}"
        assert "logits" in self.compared
        worst = max(self.compared, key=self.compared.__getitem__)
        print(
            f"{self.name}: {len(self.compared)} outputs, largest deviation "
            f"{self.compared[worst]:.2e} ({worst}), of the logits {self.compared['logits']:.2e}"
        )

    @property
    def tap_frame(self) -> int:
        """The flattened index of the frame whose tokens the case holds."""
        if "tap_frame" in self.meta:
            return self.meta["tap_frame"]["flat_index"]
        told = re.search(r"flattened frame index (\d+)", self.meta["outputs"].get("inter/*", ""))
        return int(told.group(1)) if told else self.meta["batch"] * self.meta["frames"] - 1
