"""Our own checkpoints: bit-equal after a round trip, and refused when anything is amiss."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_clip import ALL_BUILDS, CLASSES, logits_of, tiny_backbone

from vclip_cli.common.errors import WeightsError
from vclip_cli.common.preprocessing import reference_video_preprocessing
from vclip_cli.models import load_adapter
from vclip_cli.models.checkpoint import HEADER, read_info, save_checkpoint
from vclip_cli.models.contract import Adapter


def trained(name: str) -> Adapter:
    """An adapter whose training tensors are no longer as initialised; its base's hash is known."""
    torch.manual_seed(1)
    adapter = ALL_BUILDS[name](tiny_backbone())
    assert adapter.backbone.weights_sha256
    with torch.no_grad():
        for entry in adapter.trainable().values():
            entry.parameter.add_(0.05 * torch.randn_like(entry.parameter))
    return adapter.eval()


def save(adapter: Adapter, path: Path) -> Path:
    save_checkpoint(path, adapter, base_sha256=adapter.backbone.weights_sha256)
    return path


@pytest.mark.parametrize("name", sorted(ALL_BUILDS))
def test_a_round_trip_gives_bit_equal_logits(name: str, tmp_path: Path):
    adapter = trained(name)
    adapter.preprocessing = reference_video_preprocessing(32)
    path = save(adapter, tmp_path / "adapter.safetensors")
    assert set(load_file(path)) == set(adapter.checkpoint_tensors())
    torch.manual_seed(7)
    loaded = load_adapter(path, backbone=tiny_backbone())
    assert type(loaded) is type(adapter) and loaded.config == adapter.config
    assert loaded.preprocessing == adapter.preprocessing
    assert loaded.tied_classes == adapter.tied_classes
    with torch.no_grad():
        assert torch.equal(logits_of(loaded), logits_of(adapter))


def test_the_description_stands_in_the_file_and_beside_it(tmp_path: Path):
    adapter = trained("vita-clip specific")
    path = save(adapter, tmp_path / "adapter.safetensors")
    info = read_info(path)
    assert info.method == "vita-clip" and info.classes == list(CLASSES)
    assert info.backbone["weights_sha256"] == tiny_backbone().weights_sha256
    beside = json.loads(path.with_suffix(".json").read_text())
    assert beside["config"] == info.config
    assert not list(tmp_path.glob(".*"))


def test_prompts_carry_the_towers_that_they_started_from(tmp_path: Path):
    tuned = save(trained("vifi-clip"), tmp_path / "vifi.safetensors")
    torch.manual_seed(3)
    adapter = ALL_BUILDS["vl-prompt"](tiny_backbone())
    untuned = logits_of(adapter).detach()
    adapter.load_tensors(load_file(tuned))
    with torch.no_grad():
        expected = logits_of(adapter.eval())
    assert not torch.allclose(expected, untuned)
    first = save(adapter, tmp_path / "first.safetensors")
    once = load_adapter(first, backbone=tiny_backbone())
    second = save(once, tmp_path / "second.safetensors")
    twice = load_adapter(second, backbone=tiny_backbone())
    with torch.no_grad():
        assert torch.equal(logits_of(once), expected)
        assert torch.equal(logits_of(twice), expected)
    assert set(twice.trainable()) == {"vision_prompts", "text_prompts"}


def test_a_file_with_every_tensor_needs_no_base(tmp_path: Path):
    adapter = trained("x-clip")
    path = tmp_path / "whole.safetensors"
    own = adapter.state_dict()
    save_checkpoint(path, adapter, base_sha256="unused", tensors=own)
    assert read_info(path).backbone["weights_sha256"] == ""
    loaded = load_adapter(path, backbone=tiny_backbone(seed=99))
    with torch.no_grad():
        assert torch.equal(logits_of(loaded), logits_of(adapter))


# What is refused ----------------------------------------------------------------------------------


def test_other_base_weights_are_refused(tmp_path: Path):
    path = save(trained("vl-prompt"), tmp_path / "adapter.safetensors")
    with pytest.raises(WeightsError, match="base weights are not those"):
        load_adapter(path, backbone=tiny_backbone(seed=1))


def test_another_activation_is_refused(tmp_path: Path):
    adapter = trained("x-clip")
    path = tmp_path / "whole.safetensors"
    save_checkpoint(path, adapter, base_sha256="", tensors=adapter.state_dict())
    backbone = tiny_backbone()
    other = type(backbone)(
        *(backbone.clip, "tiny", None, backbone.tokenizer, backbone.preprocessing), quick_gelu=False
    )
    with pytest.raises(WeightsError, match="found GELU; expected QuickGELU"):
        load_adapter(path, backbone=other)


def test_a_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(WeightsError, match="no such checkpoint"):
        load_adapter(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 200, -10])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int):
    path = save(trained("vl-prompt"), tmp_path / "adapter.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError):
        load_adapter(path, backbone=tiny_backbone())


def test_a_foreign_file_is_refused(tmp_path: Path):
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="no checkpoint of vclip"):
        load_adapter(path, backbone=tiny_backbone())


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"schema": 99}', "another version"),
        ('{"schema": 1, "surprise": 2}', "damaged"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, header: str, message: str):
    path = tmp_path / "bad.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata={HEADER: header})
    with pytest.raises(WeightsError, match=message):
        load_adapter(path, backbone=tiny_backbone())


@pytest.mark.parametrize("change", ["missing", "unknown", "shape"])
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, change: str):
    path = save(trained("vl-prompt"), tmp_path / "adapter.safetensors")
    with safe_open(path, framework="pt") as stream:
        metadata = stream.metadata()
    tensors = load_file(path)
    if change == "missing":
        del tensors["text_prompts"]
    elif change == "unknown":
        tensors["surprise"] = torch.zeros(1)
    else:
        tensors["text_prompts"] = torch.zeros(1, 1, 1)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(WeightsError, match=change):
        load_adapter(path, backbone=tiny_backbone())
