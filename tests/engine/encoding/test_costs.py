"""Multiply-adds against sums done by hand, and where they and the latency stand in a record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_clip import ARCHITECTURE, BUILDS, FRAMES, PROMPTS, tiny_backbone

from vclip_cli.engine.encoding.encoder import count_multiply_adds
from vclip_cli.engine.loading.videos import VideoReading
from vclip_cli.engine.specs import InputSpec
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.results.record import read_record


def vit_multiply_adds(size: int, patch: int, width: int, layers: int, embedding: int) -> int:
    """Of one frame: patches, then per block q, k, v, output, MLP and attention, then projection."""
    patches = (size // patch) ** 2
    tokens = patches + 1
    block = 12 * tokens * width**2 + 2 * tokens**2 * width
    return patches * 3 * patch**2 * width + layers * block + width * embedding


def counted(adapter, classes=3, frames=FRAMES) -> int | None:
    with torch.no_grad():
        text = adapter.encode_text(PROMPTS[:classes])
    asked = InputSpec(frames=frames, preprocessing=adapter.preprocessing)
    return count_multiply_adds(adapter, text, VideoReading(asked))


def test_a_vision_transformer_by_hand():
    vision = ARCHITECTURE["vision_cfg"]
    a_frame = vit_multiply_adds(
        vision["image_size"], vision["patch_size"], vision["width"], vision["layers"], 64
    )
    score = 3 * 64
    for frames in (1, FRAMES):
        adapter = ClipAdapter(tiny_backbone())
        assert counted(adapter, frames=frames) == frames * a_frame + score


def test_vit_b_16_is_what_papers_print():
    # 17.6 GFLOPs a frame; X-CLIP's tables count 8 of them, and the parts that it adds, as 145
    assert vit_multiply_adds(224, 16, 768, 12, 512) / 1e9 == pytest.approx(17.56, abs=0.01)


@pytest.mark.parametrize("build", BUILDS)
def test_every_method_is_counted_without_touching_it(build):
    adapter = BUILDS[build](tiny_backbone()).eval()
    before = {name: value.clone() for name, value in adapter.state_dict().items()}
    found = counted(adapter)
    assert found is not None
    assert found > 0
    assert not [module for module in adapter.modules() if module._forward_hooks]
    assert counted(adapter) == found
    assert torch.backends.mha.get_fastpath_enabled()
    assert all(value.equal(before[name]) for name, value in adapter.state_dict().items())


def test_a_method_that_looks_at_values_is_not_counted():
    class Looking(ClipAdapter):
        def encode_video(self, frames):
            return super().encode_video(frames * float(frames.sum()))

    assert counted(Looking(tiny_backbone())) is None


def test_a_record_holds_cost_and_latency(vclip: Callable) -> None:
    run = ("eval", "-d", "toy", "--split", "test", "--limit", 4, "--clips", 2, "--crops", 3)
    assert vclip(*run, "--out", "run").code == 0
    record = read_record(Path("run/toy_test/record.json"))
    assert record.cost is not None
    assert record.cost.multiply_adds_per_video == 6 * record.cost.multiply_adds_per_view > 0
    assert record.timing.latency_milliseconds > 0
