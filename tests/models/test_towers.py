"""What the towers leave out changes no embedding and no gradient."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny_clip import ALL_BUILDS, ARCHITECTURE, PROMPTS, VOCABULARY, random_video, tiny_backbone

from vclip_cli.common.preprocessing import Preprocessing
from vclip_cli.models import towers
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone, load_backbone
from vclip_cli.models.layers import LeanQuickGELU, use_lean_activations
from vclip_cli.models.towers import encode_ids, encode_images, text_tower, without_padding

WORDS = ["a dog.", "playing the guitar, badly and for a long time.", "x"]


def custom_text_backbone() -> Backbone:
    """The same towers, the text one in a module of its own, as open_clip's newer models have it."""
    from open_clip.model import CustomTextCLIP

    torch.manual_seed(0)
    text = ARCHITECTURE["text_cfg"] | {"vocab_size": VOCABULARY}
    clip = CustomTextCLIP(
        embed_dim=64, vision_cfg=ARCHITECTURE["vision_cfg"], text_cfg=text, quick_gelu=False
    ).eval()
    tokenizer = tiny_backbone().tokenizer
    return Backbone(clip, "tiny", "random", tokenizer, Preprocessing(size=32), False)


@pytest.mark.parametrize("make", [tiny_backbone, custom_text_backbone])
@pytest.mark.parametrize("train", [False, True])
def test_embeddings_are_those_of_open_clip(make: Any, train: bool) -> None:
    backbone = make()
    images, ids = random_video(3, 1)[:, 0], backbone.tokenize(WORDS)
    with torch.set_grad_enabled(train):
        ours = encode_images(backbone, images), encode_ids(backbone, ids)
        theirs = backbone.clip.encode_image(images), backbone.clip.encode_text(ids)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_open_clip() -> None:
    plain = tiny_backbone()
    lean = copy.deepcopy(plain)
    use_lean_activations(lean.clip)
    images, ids = random_video(3, 1)[:, 0], plain.tokenize(WORDS)
    (plain.clip.encode_image(images) * plain.clip.encode_text(ids)).square().sum().backward()
    (encode_images(lean, images) * encode_ids(lean, ids)).square().sum().backward()
    for (name, one), other in zip(
        plain.clip.named_parameters(), lean.clip.parameters(), strict=True
    ):
        if name != "logit_scale":
            error = (other.grad - one.grad).abs().max() / one.grad.abs().max()
            assert error < 1e-5, (name, float(error))


def test_padding_is_cut_where_no_prompt_reaches_and_kept_where_the_tower_needs_it() -> None:
    backbone = tiny_backbone()
    tower, ids = text_tower(backbone, ""), backbone.tokenize(WORDS)
    cut = without_padding(tower, ids)
    assert cut.shape[1] == int(ids.argmax(dim=1).max()) + 1 < ids.shape[1]
    last = type(tower)(tower.owner, "last", None)
    assert without_padding(last, ids).shape == ids.shape
    full = backbone.tokenize(["word " * 100, "a dog."])
    torch.testing.assert_close(
        encode_ids(backbone, full), backbone.clip.encode_text(full), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", [name for name in ALL_BUILDS if name.count(" ") == 0])
def test_methods_agree_with_themselves_unabridged(name: str) -> None:
    """An observer wants every token of every block of the whole batch, and gets the same logits."""
    adapter = ALL_BUILDS[name](tiny_backbone()).eval()
    video = random_video(3)
    with torch.inference_mode():
        short = adapter.score(adapter.encode_video(video), adapter.encode_text(PROMPTS))
        shapes: dict[str, tuple[int, ...]] = {}
        adapter.observe = lambda key, value: shapes.__setitem__(key, tuple(value.shape))
        full = adapter.score(adapter.encode_video(video), adapter.encode_text(PROMPTS))
    torch.testing.assert_close(short, full, rtol=1e-5, atol=1e-5)
    last = [shape for key, shape in shapes.items() if key.startswith("visual/block2")]
    assert all(len(shape) < 3 or shape[0] in (3, 12) for shape in last)


def test_hooks_see_everything() -> None:
    adapter = ClipAdapter(tiny_backbone())
    seen = []
    block = adapter.clip.visual.transformer.resblocks[-1]
    handle = block.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    with torch.inference_mode():
        watched = adapter.encode_frames(random_video(2))
        assert seen == [(8, 5, 64)]
        handle.remove()
        torch.testing.assert_close(adapter.encode_frames(random_video(2)), watched)
    assert len(seen) == 1


def test_videos_go_one_by_one_without_gradients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    original = towers.encode_images

    def count(backbone: Backbone, images: torch.Tensor) -> torch.Tensor:
        batches.append(len(images))
        return original(backbone, images)

    monkeypatch.setattr("vclip_cli.models.adapters.clip.encode_images", count)
    adapter = ClipAdapter(tiny_backbone())
    with torch.inference_mode():
        adapter.encode_frames(random_video(3))
    adapter.encode_frames(random_video(3))
    assert batches == [4, 4, 4, 12]


def test_loaded_backbones_have_the_lean_activation_and_still_say_quick_gelu() -> None:
    backbone = load_backbone("toy")
    lean = [module for module in backbone.clip.modules() if isinstance(module, LeanQuickGELU)]
    assert bool(lean) == backbone.quick_gelu
    values = torch.linspace(-6, 6, 101)
    expected = values * torch.sigmoid(1.702 * values)
    torch.testing.assert_close(LeanQuickGELU()(values.clone()), expected, rtol=1e-5, atol=1e-6)


def test_gradient_checkpointing_reaches_the_towers(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = ALL_BUILDS["vifi-clip"](tiny_backbone())
    calls = []
    original = towers.checkpoint
    monkeypatch.setattr(towers, "checkpoint", lambda *a, **k: calls.append(1) or original(*a, **k))
    plain = adapter.score(adapter.encode_video(random_video(2)), adapter.encode_text(PROMPTS))
    assert not calls
    adapter.gradient_checkpointing = True
    saved = adapter.score(adapter.encode_video(random_video(2)), adapter.encode_text(PROMPTS))
    assert len(calls) == 6  # three blocks a tower
    torch.testing.assert_close(saved, plain)
