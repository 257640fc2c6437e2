"""Device and precision, from what was asked for and what the machine has."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

from vclip_cli.common.errors import UsageError, did_you_mean

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(asked: str) -> torch.device:
    """`auto` is CUDA, else MPS, else the CPU. Raises UsageError for a device that is not there."""
    if asked == "auto":
        if torch.cuda.is_available():
            rank = int(os.environ.get("LOCAL_RANK", 0))  # one GPU a process of a launch
            return torch.device("cuda", rank) if rank else torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        known = ["auto", "cpu", "cuda", "mps"]
        raise UsageError(f"unknown device {asked!r}", hint=did_you_mean(asked, known)) from None
    missing = {
        "cuda": not torch.cuda.is_available()
        or (device.index or 0) >= max(torch.cuda.device_count(), 1),
        "mps": not torch.backends.mps.is_available(),
    }
    if missing.get(device.type, device.type != "cpu"):
        raise UsageError(f"the device {asked!r} is not available here", hint="see: vclip doctor")
    return device


def known_precision(name: str) -> str:
    """The name itself. Raises UsageError, with near misses, when there is no such precision."""
    if name not in PRECISIONS:
        raise UsageError(f"unknown precision {name!r}", hint=did_you_mean(name, PRECISIONS))
    return name


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Mixed precision for the towers; fp32 leaves everything as it is."""
    dtype = PRECISIONS[known_precision(precision)]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """For products so small that threads would rather wait than work; on a busy machine that wait
    takes many times as long as the product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def device_name(device: torch.device) -> str:
    """What a record calls the device: the GPU's own name, or the kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
