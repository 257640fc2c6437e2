"""Frames and texts to embeddings and scores: a method on a device, in one precision.

Shapes: B batch, V views, T frames, S side in pixels, K classes, E width of an embedding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vclip_cli.common.errors import UsageError, did_you_mean
from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.engine.specs import UNPROTECTED, ComputeSpec, WorkerSpec
from vclip_cli.models.contract import Adapter
from vclip_cli.models.tensors import to_device
from vclip_cli.video.preprocess import normalise

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

PerLabel = Callable[[torch.Tensor], torch.Tensor]
"""Maps logits (B,K) to independent scores per label, such as probabilities."""


@dataclass(frozen=True)
class RawLogits:
    """Unchanged logits, for ranking and for fitting probabilities."""

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """The same logits."""
        return logits


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


def resolve_compute(asked: ComputeSpec) -> ComputeSpec:
    """The spec with `auto` replaced by this machine's device.

    Raises UsageError for a device that is not there, and for an unknown precision.
    """
    return replace(
        asked, device=str(pick_device(asked.device)), precision=known_precision(asked.precision)
    )


def device_name(device: torch.device) -> str:
    """The device as records name it: the GPU's model name, else the device type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Autocast for the towers; does nothing for fp32."""
    dtype = PRECISIONS[known_precision(precision)]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Encoder:
    """An adapter on its device, and how it computes: without gradients, in one precision.

    compute: its device is resolved (`resolve_compute`); the caller moves the adapter to it.
    workers: the processes that read its videos.
    """

    adapter: Adapter
    compute: ComputeSpec = field(default_factory=lambda: ComputeSpec(device="cpu"))
    workers: WorkerSpec = UNPROTECTED

    @property
    def device(self) -> torch.device:
        """Where the adapter computes."""
        return torch.device(self.compute.device)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Without gradients, in the run's precision."""
        with torch.inference_mode(), autocast(self.device, self.compute.precision):
            yield

    def encode_text(self, prompts: Sequence[Sequence[str]]) -> Any:
        """The text representation of K classes for `score`; prompts: one list per class."""
        with self.computing():
            return self.adapter.encode_text(prompts)

    def encode(self, frames: torch.Tensor, preprocessing: Preprocessing) -> Any:
        """Frames uint8 (B,V,T,S,S,3) to the adapter's representation of B·V videos."""
        with self.computing():
            return self.adapter.encode_video(self._normalised(frames, preprocessing))

    def embed(self, frames: torch.Tensor, preprocessing: Preprocessing) -> np.ndarray:
        """Frames uint8 (B,V,T,S,S,3) to storable embeddings, float32 (B,V,…).

        The adapter's `cacheable` decides their shape: (T,E) per view for `frame`, its own for
        `video`.
        """
        with self.computing():
            by_frame = self.adapter.cacheable == "frame"
            encode: Any = self.adapter.encode_frames if by_frame else self.adapter.encode_video
            values = encode(self._normalised(frames, preprocessing)).float()
        return values.unflatten(0, frames.shape[:2]).cpu().numpy()

    def pool(self, values: np.ndarray) -> Any:
        """Stored embeddings (B,V,…) to the adapter's representation of B·V videos."""
        with self.computing(), self._few_threads():
            flat = to_device(torch.from_numpy(values), self.device).flatten(0, 1)
            if self.adapter.cacheable != "frame":
                return flat
            pool: Any = self.adapter.pool_frames
            return pool(flat)

    def score(
        self,
        encoded: Any,
        text: Any,
        views: int,
        per_label: PerLabel | None = None,
        *,
        pooled: bool = False,
    ) -> np.ndarray:
        """The representation of B·V videos to scores float32 (B,K), averaged over the views.

        text: what `encode_text` gave. Scores are the softmax over the classes, or `per_label` of
        the logits. pooled: `encoded` comes from `pool`, so only small products remain.
        """
        with torch.inference_mode(), self._few_threads() if pooled else contextlib.nullcontext():
            with autocast(self.device, self.compute.precision):
                logits = self.adapter.score(encoded, text).float()
            per_view = logits.softmax(dim=-1) if per_label is None else per_label(logits)
            return per_view.unflatten(0, (-1, views)).mean(dim=1).float().cpu().numpy()

    def vectors(self, encoded: Any, views: int) -> torch.Tensor:
        """The representation of B·V views to one vector per video (B,E): the mean of its
        unit-length views. Raises UsageError if the method has no such vector."""
        with torch.inference_mode():
            each = torch.nn.functional.normalize(self.adapter.embedding(encoded).float(), dim=-1)
            return each.unflatten(0, (-1, views)).mean(dim=1)

    def _normalised(self, frames: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
        return normalise(to_device(frames, self.device).flatten(0, 1), preprocessing)

    @contextlib.contextmanager
    def _few_threads(self) -> Iterator[None]:
        """One thread for the small products of pooled frames.

        On a busy machine, waiting for threads takes longer than the product.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if self.adapter.cacheable == "frame" else threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


# What scoring one video costs --------------------------------------------------------------------


FLOPS_PER_MULTIPLY_ADD = 2
"""torch counts a multiplication and an addition; what papers print as FLOPs are multiply-adds."""


def count_multiply_adds(adapter: Adapter, text: Any, reading: VideoReading) -> int | None:
    """The multiply-adds of one view: `encode_video` of T frames, and `score` against all classes.

    text: the result of the adapter's `encode_text`. Text encoding is not counted, since it runs
    once for all videos. Nothing is computed: tensors have shapes only, so this takes a fraction of
    a second. A hook turns off shortcuts that skip unused tokens, since papers count the whole
    architecture. Returns None for an adapter that reads tensor values.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    size = reading.preprocessing.size
    shape = (1, reading.sampling.frames, 3, size, size)
    watched = getattr(adapter.clip, "visual", adapter).register_forward_hook(lambda *_: None)
    try:
        with (
            torch.no_grad(),
            FakeTensorMode(allow_non_fake_inputs=True),
            counted_operations() as counter,
        ):
            adapter.score(adapter.encode_video(torch.empty(shape, device=adapter.device)), text)
    except RuntimeError:  # the adapter read the value of a tensor that has none
        return None
    finally:
        watched.remove()
    return counter.get_total_flops() // FLOPS_PER_MULTIPLY_ADD


@contextlib.contextmanager
def counted_operations() -> Iterator[FlopCounterMode]:
    """torch's counter of the operations within, and of two attention calls that it lacks."""
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    more = {on_cpu: lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)}
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping=more) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
