"""Files that somebody made to do harm, and the check that they did none."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vclip_cli.models.checkpoint import HEADER, save_checkpoint
from vclip_cli.models.registry import find_method

CANARY = "canary"


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = str(canary)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.canary,)


def _plain_pickle(path: Path, evil: Evil) -> None:
    path.write_bytes(pickle.dumps({"state_dict": evil}))


def _torch_zip(path: Path, evil: Evil) -> None:
    torch.save({"weight": torch.zeros(2), "evil": evil}, path)


def _torch_legacy(path: Path, evil: Evil) -> None:
    torch.save({"weight": evil}, path, _use_new_zipfile_serialization=False)


def _nested(path: Path, evil: Evil) -> None:
    torch.save(
        {"state_dict": {"weight": torch.zeros(2)}, "config": {"a": [(1, {"b": evil})]}}, path
    )


def _pickle_of_a_module(path: Path, evil: Evil) -> None:
    module = torch.nn.Linear(1, 1)
    module.evil = evil
    torch.save(module, path)


PICKLES: dict[str, Callable[[Path, Evil], None]] = {
    "plain": _plain_pickle,
    "zip": _torch_zip,
    "legacy": _torch_legacy,
    "nested": _nested,
    "module": _pickle_of_a_module,
}


def safetensors_bytes(header: Any, data: bytes = b"\0" * 64, length: int | None = None) -> bytes:
    """A file in the safetensors format with any header, and any statement of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def _entry(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


SAFETENSORS = {
    "length beyond the file": safetensors_bytes({}, length=2**40),
    "length of all bits": safetensors_bytes({}, length=2**64 - 1),
    "no header": safetensors_bytes(b""),
    "overlapping tensors": safetensors_bytes({"a": _entry([16], 0, 64), "b": _entry([8], 32, 64)}),
    "hole between tensors": safetensors_bytes({"a": _entry([4], 0, 16), "b": _entry([4], 48, 64)}),
    "offsets beyond the file": safetensors_bytes({"a": _entry([2**38], 0, 2**40)}),
    "offsets reversed": safetensors_bytes({"a": _entry([4], 64, 0)}),
    "shape overflows": safetensors_bytes({"a": _entry([2**33, 2**33, 2**33], 0, 64)}),
    "shape negative": safetensors_bytes({"a": _entry([-4, -4], 0, 64)}),
    "unknown type": safetensors_bytes({"a": _entry([16], 0, 64, "PICKLE")}),
    "deep header": safetensors_bytes(b'{"__metadata__":' + b"[" * 200_000),
    "metadata of numbers": safetensors_bytes({"__metadata__": {HEADER: 7}}, b""),
    "description too deep": safetensors_bytes(
        {"__metadata__": {HEADER: '{"schema":1,"config":' + "[" * 50_000}}, b""
    ),
    "description too long a number": safetensors_bytes(
        {"__metadata__": {HEADER: '{"schema": ' + "1" * 10_000 + "}"}}, b""
    ),
}


def toy_checkpoint(path: Path, method: str = "vita-clip", **options: Any) -> Path:
    """A sound, untrained checkpoint on the tiny CLIP."""
    from vclip_cli.models.backbone import load_backbone

    backbone = load_backbone("toy")
    kind = find_method(method)
    adapter = kind(backbone, kind.Config.from_dict(options))
    save_checkpoint(path, adapter, base_sha256=backbone.weights_sha256)
    return path


def edited_checkpoint(path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """The same with its description changed."""
    from safetensors import safe_open
    from safetensors.torch import load_file

    with safe_open(path, framework="pt") as stream:
        description = json.loads(stream.metadata()[HEADER])
    edit(description)
    save_file(load_file(path), path, metadata={HEADER: json.dumps(description)})
    return path


BROKEN_DESCRIPTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "frames of a billion": lambda d: d["config"].update(frames=10**9),
    "tokens of a billion": lambda d: d["config"].update(global_prompts=10**9),
    "negative frames": lambda d: d["config"].update(frames=-1),
    "frames in words": lambda d: d["config"].update(frames="eight"),
    "frames without end": lambda d: d["config"].update(frames=float("inf")),
    "unknown option": lambda d: d["config"].update(depth=10**9),
    "config is a list": lambda d: d.update(config=[1]),
    "pixels of a billion": lambda d: d["preprocessing"].update(size=10**9),
    "resize to nothing": lambda d: d["preprocessing"].update(resize_to=0),
    "mean of two": lambda d: d["preprocessing"].update(mean=[0.5, 0.5]),
    "preprocessing lacks": lambda d: d["preprocessing"].pop("size"),
    "preprocessing more": lambda d: d["preprocessing"].update(surprise=1),
    "classes of numbers": lambda d: d.update(classes=[1, 2, 3]),
    "classes are a text": lambda d: d.update(classes="abc"),
    "templates of null": lambda d: d.update(templates=[None]),
    "backbone is a text": lambda d: d.update(backbone="toy"),
    "backbone lacks a name": lambda d: d["backbone"].pop("name"),
    "backbone hash": lambda d: d["backbone"].update(weights_sha256="../x"),
    "method is a list": lambda d: d.update(method=["clip"]),
    "training is a text": lambda d: d.update(training="x"),
    "trained videos": lambda d: d.update(training={"videos": [1]}),
    "test frames": lambda d: d.update(training={"evaluation": {"frames": "many"}}),
    "no method": lambda d: d.pop("method"),
    "surprise": lambda d: d.update(surprise=1),
}

BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
YAMLS = {
    "billion laughs": (BOMB, "aliases"),
    "open brackets": ("a: " + "[" * 100_000, "nest"),
    "closed brackets": ("a: " + "[" * 50_000 + "]" * 50_000, "nest"),
    "dashes": ("- " * 50_000, "nest"),
    "deep keys": ("? " * 50_000 + "a", "nest"),
    "indented": ("\n".join(" " * i + "a:" for i in range(500)), "nest"),
    "millions of items": ("- a\n" * 250_000, "too much"),
    "millions of bytes": ("a: '" + "y" * 9_000_000 + "'", "too large"),
    "python call": ("a: !!python/object/apply:os.mkdir [canary]", "tags are not allowed"),
    "python name": ("%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system", "tags"),
    "python new": ("a: !!python/object/new:os.system ['mkdir canary']", "tags"),
    "repeated key": ("name: a\nname: b\n", "appears twice"),
    "list as a key": ("? [a, b]\n: c\n", "a key must be a name"),
    "mapping as a key": ("{{a: b}: c}", "a key must be a name"),
    "long number": ("version: " + "9" * 10_000, "number is too long"),
    "base sixty": ("version: 1" + ":59" * 300_000, "number is too long"),
    "impossible date": ("version: 2001-99-99", "number or a date"),
    "not a number": ("version: .nan", ""),
    "infinite": ("version: -.inf", ""),
    "control code": ("name: \x1b[2J", "not valid YAML"),
    "NUL": ("name: \0", "not valid YAML"),
    "half a pair": ('name: "\\ud800"', "not valid YAML"),
    "two documents": ("a: 1\n---\nb: 2\n", "not valid YAML"),
}
"""Texts of YAML files and what the error says of them."""

CLIMBERS = {
    "up": "../outside/clip.mp4",
    "up amid": "a/../../outside/clip.mp4",
    "absolute": "/etc/passwd.mp4",
    "Windows drive": "C:\\Windows\\clip.mp4",
    "Windows drive alone": "C:clip.mp4",
    "Windows up": "..\\..\\outside\\clip.mp4",
    "network share": "\\\\server\\share\\clip.mp4",
    "dots alone": "..",
}
