"""Tensors from untrusted files: no code of a pickle is ever run, and hashes are compared."""

from __future__ import annotations

import collections
import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

import torch
from torch import Tensor

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.files import sha256_file


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to the device; on a GPU the program goes on before the copy is done.

    The copy starts from pinned memory: from ordinary memory, it would wait for the GPU.
    """
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def read_tensor_file(path: Path) -> Any:
    """The content of a .safetensors or torch file (zip or legacy), on the CPU, tensors only.

    A torch file may hold nested dicts. The reference repositories pickle a yacs config beside the
    tensors; it is read as an ordered dict, and nothing is imported or run. Raises WeightsError when
    the file is missing or damaged, or when reading it would run code.
    """
    if not path.is_file():
        raise WeightsError("no such weights file", where=str(path))
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path, device="cpu")
        _refuse_odd_archive(path)
        harmless: list[Any] = [(collections.OrderedDict, "yacs.config.CfgNode")]
        with torch.serialization.safe_globals(harmless):
            return torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(
            "the file holds more than tensors, and reading it would execute code",
            where=str(path),
            found=_first_line(error),
            hint="convert it to .safetensors where you trust it",
        ) from None
    except Exception as error:  # each reader raises its own kinds of errors for a damaged file
        raise WeightsError(
            "the weights file cannot be read: it is damaged, cut short, or no weights file",
            where=str(path),
            found=f"{type(error).__name__}: {_first_line(error)}",
        ) from None


def write_tensor_file(content: Any, path: Path) -> None:
    """Write nested dicts of tensors as `read_tensor_file` reads them. Raises OSError."""
    with path.open("wb") as stream:
        watched = _WatchedStream(stream)
        try:
            torch.save(content, cast(IO[bytes], watched))
        except RuntimeError as error:
            if watched.error is not None:
                raise watched.error from error
            raise


class _WatchedStream:
    """A stream that keeps the OSError of a failed write, which `torch.save` replaces."""

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
    """Refuse zip files that torch.save does not write: programs, and packed or overlapping parts.

    OpenAI's own downloads are TorchScript programs.
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
            "torch.save does not write such an archive: its parts are packed, or overlap",
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
    """Raises WeightsError for a tensor that is not dense, on the CPU and stored whole.

    With a stride of zero, one stored number becomes a tensor of any size; on the device `meta`, a
    tensor has a shape but no values.
    """
    dense = value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
    if dense and value.numel() * value.element_size() <= value.untyped_storage().nbytes():
        return
    raise WeightsError(
        f"the tensor {name[:80]!r} is not an ordinary one",
        where=where,
        found=f"shape {tuple(value.shape)}, {value.layout}, on {value.device.type}",
        expected="a dense tensor that is stored whole",
    )


def check_tensors(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], where: str) -> None:
    """Compare names and shapes. Raises WeightsError that names those that differ."""
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


_SHA256 = re.compile("[0-9a-f]{64}")


def verify_download(path: Path) -> None:
    """Raises WeightsError for a file of the Hugging Face cache that differs from its own hash.

    The cache names large files by the sha256 that the hub lists, and its client does not compare it
    again. Other files, such as small ones, pass. (open_clip compares the hashes of OpenAI's files.)
    """
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    found = sha256_file(blob)
    if found != blob.name:
        raise WeightsError(
            "the downloaded weights are not those that the hub lists: damaged or replaced",
            where=str(path),
            found=f"sha256 {found[:12]}…",
            expected=f"{blob.name[:12]}…",
            hint=f"delete {blob} and run the command again",
        )


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 over names, types, shapes and values, sorted by name: independent of the file."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)};".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
