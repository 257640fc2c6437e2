"""`ov-multilabel`: it starts at CLIP, what is frozen stays so, and each part can be left out."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_of_a_step import peak_bytes
from tiny_clip import FRAMES, random_video, tiny_backbone
from tiny_language_model import write_tiny_language_model

from vclip_cli.common.errors import SpecError, UsageError, WeightsError
from vclip_cli.models import load_adapter
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.ov_multilabel import (
    CONTEXT,
    OvMultilabelAdapter,
    OvMultilabelConfig,
)
from vclip_cli.models.checkpoint import save_checkpoint
from vclip_cli.models.tensors import tensors_sha256

NAMES = ["brush hair", "playing guitar", "a dog"]
BARE = [[f"{name}."] for name in NAMES]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_language_model(tmp_path_factory.mktemp("lm"))


def build(language_model: Path | None = None, **options: Any) -> OvMultilabelAdapter:
    torch.manual_seed(0)
    model = "none" if language_model is None else str(language_model)
    config = OvMultilabelConfig(language_model=model, frames=FRAMES, **options)
    return OvMultilabelAdapter(tiny_backbone(), config)


def open_gates(adapter: OvMultilabelAdapter) -> None:
    with torch.no_grad():
        for name, parameter in adapter.named_parameters():
            if name.endswith("gate"):
                parameter.fill_(0.5)


def logits_of(adapter: ClipAdapter, prompts: list[list[str]] = BARE) -> torch.Tensor:
    adapter.eval()
    with torch.no_grad():
        video = adapter.encode_video(random_video(frames=FRAMES))
        return adapter.score(video, adapter.encode_text(prompts))


@pytest.mark.parametrize("words", [0, 2, 4, 6])
def test_with_closed_gates_logits_are_those_of_clip(language_model: Path, words: int) -> None:
    """The prompt that they equal has an "X" for each attribute beyond the four words."""
    further = "X " * max(0, words - 4)
    plain = [[f"{further}{CONTEXT} {name}."] for name in NAMES]
    wanted = logits_of(ClipAdapter(tiny_backbone()), plain)
    for prefixes in (0, 3):
        adapter = build(language_model if words else None, attributes=words, prefixes=prefixes)
        torch.testing.assert_close(logits_of(adapter), wanted, atol=1e-6, rtol=0)
        open_gates(adapter)
        assert not torch.allclose(logits_of(adapter), wanted, atol=1e-2)


def test_without_temporal_branch_and_attributes_it_is_clip_for_good() -> None:
    adapter = build(temporal=False, attributes=0)
    assert set(adapter.trainable()) == {"log_scale"}
    wanted = logits_of(ClipAdapter(tiny_backbone()), [[f"{CONTEXT} {name}."] for name in NAMES])
    torch.testing.assert_close(logits_of(adapter), wanted, atol=1e-6, rtol=0)


def test_interpolation_goes_from_clip_to_what_was_trained(language_model: Path) -> None:
    adapter = build(language_model)
    start = logits_of(adapter)
    open_gates(adapter)
    trained = logits_of(adapter)
    adapter.interpolate(0.5)
    between = logits_of(adapter)
    adapter.interpolate(0)
    torch.testing.assert_close(logits_of(adapter), start, atol=1e-6, rtol=0)
    adapter.interpolate(1)
    torch.testing.assert_close(logits_of(adapter), trained)
    assert not torch.allclose(between, start) and not torch.allclose(between, trained)
    with pytest.raises(UsageError, match="between 0 and 1"):
        adapter.interpolate(1.5)


def _step(adapter: OvMultilabelAdapter, prompts: list[list[str]]) -> None:
    adapter.train()
    frames = random_video(frames=FRAMES)
    video = adapter.encode_video(frames)
    loss = adapter.score(video, adapter.encode_text(prompts)).square().mean()
    penalty = adapter.penalty(frames, video)
    (loss if penalty is None else loss + penalty.mean()).backward()


def test_frozen_parts_neither_change_nor_get_gradients(language_model: Path) -> None:
    adapter = build(language_model)
    open_gates(adapter)
    adapter.freeze_all_but_trainable()
    body = adapter.language_model.body
    before = [tensors_sha256(part.state_dict()) for part in (adapter.clip, body)]
    parameters = [entry.parameter for entry in adapter.trainable().values()]
    optimizer = torch.optim.AdamW(parameters, lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        _step(adapter, BARE)
        optimizer.step()
    assert [tensors_sha256(part.state_dict()) for part in (adapter.clip, body)] == before
    frozen = [*adapter.clip.parameters(), *body.parameters()]
    assert len(frozen) > 50
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen)
    assert not {id(p) for p in frozen} & {id(p) for p in parameters}
    assert all(parameter.grad is not None for parameter in parameters)
    assert not body.training


def test_every_part_that_trains_gets_a_gradient_only_while_it_is_there(
    language_model: Path,
) -> None:
    names = set(build(language_model).trainable())
    assert {"prefixes", "log_scale", "branches.0.gate", "prompting.queries"} <= names
    assert not any(name.startswith("clip.") for name in names)
    assert "prefixes" not in build(language_model, prefixes=0).trainable()
    assert "prefixes" not in build(None).trainable()  # no language model to read them
    assert not any(n.startswith("branches") for n in build(temporal=False).trainable())
    assert len(build(temporal_blocks=1).branches) == 1


def test_the_regulariser_is_the_distance_to_clips_own_embedding(language_model: Path) -> None:
    adapter = build(language_model, regularisation=2.0)
    frames = random_video(frames=FRAMES)
    assert adapter.penalty(frames, adapter.encode_video(frames)).abs().max() < 1e-6
    open_gates(adapter)
    video = adapter.encode_video(frames)
    own = ClipAdapter(tiny_backbone()).encode_video(frames)
    wanted = 2 * (1 - (video * own).sum(dim=-1))
    torch.testing.assert_close(adapter.penalty(frames, video), wanted, atol=1e-6, rtol=0)
    assert build(regularisation=0).penalty(frames, video) is None
    assert build(temporal=False).penalty(frames, video) is None


def test_the_temporal_branch_knows_the_order_of_frames() -> None:
    frames = random_video(frames=FRAMES)
    for places in ("all", "cls"):
        adapter = build(temporal_places=places).eval()
        open_gates(adapter)
        forward, backward = adapter.encode_video(frames), adapter.encode_video(frames.flip(1))
        assert not torch.allclose(forward, backward, atol=1e-3)
        assert adapter.encode_video(random_video(frames=7)).shape == forward.shape


def test_chunks_change_nothing(language_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = build(language_model).eval()
    open_gates(adapter)
    whole = adapter.encode_text(BARE)
    monkeypatch.setattr("vclip_cli.models.adapters.ov_multilabel.CHUNK", 2)
    torch.testing.assert_close(adapter.encode_text(BARE), whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_model_without_padding_token_gives_the_same(tmp_path: Path, kind: str) -> None:
    found = []
    for pad in (True, False):
        folder = write_tiny_language_model(tmp_path / f"{kind}{pad}", pad=pad, kind=kind)
        adapter = build(folder)
        open_gates(adapter)
        alone = adapter.attributes(["a dog."])
        together = adapter.attributes(["a dog.", "a much longer label."])[:1]
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
        found.append(logits_of(adapter))
    torch.testing.assert_close(*found)


def test_long_labels_are_cut_and_empty_ones_refused(language_model: Path) -> None:
    adapter = build(language_model)
    open_gates(adapter)
    long = " ".join(f"word{number}" for number in range(100))
    assert torch.isfinite(adapter.encode_text([[f"{long}."], ["a dog."]])).all()
    for empty in ("", " .", "."):
        with pytest.raises(UsageError, match="empty"):
            adapter.encode_text([["a dog."], [empty]])


def test_without_transformers_the_error_says_what_to_install(
    language_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: Callable[..., Any] = builtins.__import__

    def lacking(name: str, *rest: Any, **more: Any) -> Any:
        if name == "transformers":
            raise ImportError("No module named 'transformers'")
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(UsageError, match=r"pip install 'vclip_cli\[llm\]'"):
        build(language_model)
    build(None)  # needs none


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    folder = write_tiny_language_model(tmp_path / "lm")
    tensors = folder / "model.safetensors"
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    tensors.unlink()
    with pytest.raises(WeightsError, match="safetensors"):
        build(folder)
    with pytest.raises(WeightsError, match="no such folder"):
        build(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "options",
    [
        {"prefixes": -1},
        {"attributes": 1.5},
        {"regularisation": -0.1},
        {"temporal": "maybe"},
        {"temporal_places": "patches"},
        {"language_model_precision": "int4"},
        {"frames": 0},
    ],
)
def test_options_that_cannot_be(language_model: Path, options: dict[str, Any]) -> None:
    values = {"language_model": str(language_model), **options}
    with pytest.raises(SpecError):
        OvMultilabelAdapter(tiny_backbone(), OvMultilabelConfig(**values))


def test_the_checkpoint_names_the_language_model_and_refuses_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_tiny_language_model(tmp_path / "lm")
    adapter = build(folder)
    open_gates(adapter)
    wanted = logits_of(adapter)
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, adapter, base_sha256=adapter.backbone.weights_sha256)
    assert path.stat().st_size < 2_000_000
    loaded = load_adapter(path, backbone=tiny_backbone())
    assert set(loaded.checkpoint_tensors()) == set(adapter.trainable())
    torch.testing.assert_close(logits_of(loaded), wanted)
    moved = folder.rename(tmp_path / "moved")
    with pytest.raises(WeightsError, match="VCLIP_LANGUAGE_MODEL"):
        logits_of(load_adapter(path, backbone=tiny_backbone()))
    monkeypatch.setenv("VCLIP_LANGUAGE_MODEL", str(moved))
    torch.testing.assert_close(logits_of(load_adapter(path, backbone=tiny_backbone())), wanted)
    write_tiny_language_model(folder, seed=1)
    monkeypatch.setenv("VCLIP_LANGUAGE_MODEL", str(folder))
    with pytest.raises(WeightsError, match="not the one"):
        logits_of(load_adapter(path, backbone=tiny_backbone()))


def test_half_precision_changes_the_states_but_not_the_identity(language_model: Path) -> None:
    whole = build(language_model)
    half = build(language_model, language_model_precision="bf16")
    assert half.config.language_model_sha256 == whole.config.language_model_sha256
    assert next(half.language_model.body.parameters()).dtype == torch.bfloat16
    for adapter in (whole, half):
        open_gates(adapter)
    torch.testing.assert_close(logits_of(half), logits_of(whole), atol=0.5, rtol=0)


def test_encoding_many_labels_holds_one_chunk_at_a_time(language_model: Path) -> None:
    adapter = build(language_model)
    adapter.freeze_all_but_trainable()
    _step(adapter, BARE)  # gradients are allocated once
    prompts = [[f"label {number} of many."] for number in range(192)]
    few, many = (peak_bytes(lambda n=n: _step(adapter, prompts[:n])) for n in (64, 192))
    assert few > 1_000_000
    assert many < 1.3 * few
