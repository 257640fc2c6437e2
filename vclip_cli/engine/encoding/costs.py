"""What scoring one video costs: multiply-adds, counted on shapes alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.models.contract import Adapter

FLOPS_PER_MULTIPLY_ADD = 2
"""torch counts a multiplication and an addition; what papers print as FLOPs are multiply-adds."""


def count_multiply_adds(adapter: Adapter, text: Any, reading: VideoReading) -> int | None:
    """The multiply-adds of one view: `encode_video` of T frames, and `score` against all classes.

    text: what the adapter's `encode_text` gave; encoding the classes is not counted, as it is done
    once for all videos. Nothing is computed: tensors have shapes only, so that this takes a
    fraction of a second on any backbone. A hook turns off shortcuts that skip unused tokens, since
    papers count the whole architecture. Gives None for an adapter that reads values of tensors.
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
    except RuntimeError:  # raised where a tensor without values is asked for one
        return None
    finally:
        watched.remove()
    return counter.get_total_flops() // FLOPS_PER_MULTIPLY_ADD


@contextmanager
def counted_operations() -> Iterator[FlopCounterMode]:
    """torch's counter of the operations within, also of two calls that it does not know."""
    on_cpu = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping={on_cpu: _of_attention}) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


def _of_attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query, key, value)
