"""Reading tensors from files of strangers: nothing that a pickle asks for is ever executed."""

from __future__ import annotations

import collections
import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from vclip_cli.common.errors import WeightsError


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on the device, without waiting until it is there.

    A copy from ordinary memory would hold up the CPU until the GPU has done all that it was given.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def read_tensor_file(path: Path) -> Any:
    """The content of a .safetensors or torch file (zip or legacy), on the CPU, tensors only.

    A torch file may hold nested dicts; the reference repositories pickle a yacs config beside the
    tensors, which is read as a plain ordered dict without importing or running anything. Raises
    WeightsError when the file is missing, damaged, or would have to execute code.
    """
    if not path.is_file():
        raise WeightsError("no such weights file", where=str(path))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path, device="cpu")
        _refuse_odd_archive(path)
        harmless = [(collections.OrderedDict, "yacs.config.CfgNode")]
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "the file holds more than tensors; reading it would execute what it asks for",
            where=str(path),
            found=_first_line(error),
            hint="convert it to .safetensors where you trust it",
        ) from None
    except Exception as error:  # each format's reader raises its own kinds for a damaged file
        raise WeightsError(
            "the weights file cannot be read: damaged, cut short, or no weights at all",
            where=str(path),
            found=f"{type(error).__name__}: {_first_line(error)}",
        ) from None


def write_tensor_file(content: Any, path: Path) -> None:
    """Write nested dicts of tensors as `read_tensor_file` reads them. Raises OSError."""
    with path.open("wb") as stream:
        noting = _Noting(stream)
        try:
            torch.save(content, noting)
        except RuntimeError as error:
            if noting.error is not None:
                raise noting.error from error
            raise


class _Noting:
    """A stream that remembers why it could not be written: torch does not."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self.stream.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self.stream.flush()


def _refuse_odd_archive(path: Path) -> None:
    """Refuse zip files that torch.save does not write: programs, and what unfolds beyond its size.

    OpenAI's own downloads are programs, which cannot be read without loading the program.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise WeightsError(
            "the file is a TorchScript program, not plain weights",
            where=str(path),
            hint="OpenAI's weights come by --pretrained openai; or save its state_dict() with"
            " safetensors, where you trust the file",
        )
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    unfolded, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if packed or unfolded > size:
        raise WeightsError(
            "the file is no archive that torch.save writes: its parts are packed, or overlap",
            where=str(path),
            found=f"{unfolded:,} bytes in a file of {size:,}",
        )


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else ""


def state_dict_of(content: Any, where: str) -> dict[str, Tensor]:
    """The tensors by name inside a file's content: flat, or under `state_dict` or `model`.

    A `module.` prefix that every name carries is dropped. Raises WeightsError.
    """
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping):
        raise WeightsError(
            "the file holds no state dict", where=where, found=type(content).__name__
        )
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError("the file holds no named tensors", where=where)
    for name, value in tensors.items():
        _refuse_odd_tensor(name, value, where)
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _refuse_odd_tensor(name: str, value: Tensor, where: str) -> None:
    """Weights are dense, on the CPU, and as large as what is stored of them.

    A stride of zero makes a tensor of any size out of one number; one on the device `meta` has a
    shape and nothing else.
    """
    dense = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    if dense and value.numel() * value.element_size() <= value.untyped_storage().nbytes():
        return
    raise WeightsError(
        f"the tensor {name[:80]!r} is no plain one",
        where=where,
        found=f"shape {tuple(value.shape)}, {value.layout}, on {value.device.type}",
        expected="a dense tensor that is stored whole",
    )


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes. Raises WeightsError that says which differ and how."""
    shapes = [
        f"{name}: {tuple(found[name].shape)} instead of {tuple(value.shape)}"
        for name, value in expected.items()
        if name in found and found[name].shape != value.shape
    ]
    missing = [name for name in expected if name not in found]
    unknown = [name for name in found if name not in expected]
    if not (shapes or missing or unknown):
        return
    parts = []
    for label, names in (("wrong shape", shapes), ("missing", missing), ("unknown", unknown)):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{len(names)} {label} ({', '.join(names[:3])}{more})")
    raise WeightsError(
        "the weights do not fit the model",
        where=where,
        found="; ".join(parts),
        hint="check --backbone: the name must be the architecture that these weights belong to",
    )


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 over names, types, shapes and values, sorted by name: independent of the file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
