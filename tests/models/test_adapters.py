"""What every adapter owes: frozen means frozen, shapes, precision, checkpointing, refusals."""

from __future__ import annotations

import open_clip
import pytest
import torch
from tiny_clip import (
    ALL_BUILDS,
    ARCHITECTURE,
    CLASSES,
    FRAMES,
    PROMPTS,
    VITA,
    VOCABULARY,
    logits_of,
    random_video,
    tiny_backbone,
)

from vclip_cli.common.errors import ComparisonRefused, SpecError, UsageError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.vifi_clip import VifiClipAdapter, VifiClipConfig
from vclip_cli.models.adapters.vita_clip import VitaClipAdapter, VitaClipConfig, resize_over_time
from vclip_cli.models.adapters.vl_prompt import VlPromptAdapter, VlPromptConfig
from vclip_cli.models.adapters.x_clip import XClipAdapter, XClipConfig
from vclip_cli.models.contract import Adapter
from vclip_cli.models.registry import find_method, list_methods


@pytest.fixture(params=sorted(ALL_BUILDS))
def adapter(request: pytest.FixtureRequest) -> Adapter:
    torch.manual_seed(1)
    return ALL_BUILDS[request.param](tiny_backbone())


def loss_of(adapter: Adapter) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(logits_of(adapter), torch.tensor([0, 2]))


def test_every_shipped_method_is_built_here():
    shipped = {name for name, path in list_methods().items() if "vclip_cli" in str(path)}
    assert {name.split()[0] for name in ALL_BUILDS} == shipped


def test_frozen_means_frozen(adapter: Adapter):
    """After one step of the optimizer exactly the tensors that `trainable` names have changed."""
    adapter.train()
    adapter.freeze_all_but_trainable()
    before = {name: value.clone() for name, value in adapter.state_dict().items()}
    training = adapter.trainable()
    if not training:
        assert adapter.name in ("clip", "tip-adapter")
        return
    optimizer = torch.optim.AdamW([entry.parameter for entry in training.values()], lr=1e-2)
    loss_of(adapter).backward()
    optimizer.step()
    after = adapter.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == set(training)
    assert "clip.token_embedding.weight" not in changed


def test_trainable_names_own_parameters(adapter: Adapter):
    own = dict(adapter.named_parameters())
    for name, entry in adapter.trainable().items():
        assert own[name] is entry.parameter
        assert entry.group in adapter.learning_rate_factors


def test_logits_are_float32_of_shape_videos_by_classes(adapter: Adapter):
    with torch.no_grad():
        logits = logits_of(adapter.eval())
    assert logits.shape == (2, len(CLASSES))
    assert logits.dtype == torch.float32
    assert logits.std() > 0


def test_videos_do_not_see_each_other(adapter: Adapter):
    video = random_video(batch=3, frames=FRAMES)
    with torch.no_grad():
        together = logits_of(adapter.eval(), video)
        alone = torch.cat([logits_of(adapter, one[None]) for one in video])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_trains_and_evaluates(adapter: Adapter, dtype: torch.dtype):
    adapter.freeze_all_but_trainable()
    with torch.no_grad():
        exact = logits_of(adapter.eval())
        with torch.autocast("cpu", dtype=dtype):
            rough = logits_of(adapter)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.3)
    if not adapter.trainable():
        return
    adapter.train()
    with torch.autocast("cpu", dtype=dtype):
        loss = loss_of(adapter)
    loss.backward()
    gradients = [entry.parameter.grad for entry in adapter.trainable().values()]
    assert all(g is not None and g.isfinite().all() for g in gradients)


def test_stored_encodings_score_in_half_precision(adapter: Adapter):
    """What was encoded under autocast, or stored in half, is scored in float32."""
    video = random_video(frames=FRAMES)
    with torch.no_grad():
        encoded, text = adapter.eval().encode_video(video), adapter.encode_text(PROMPTS)
        exact = adapter.score(encoded, text)
        rough = adapter.score(encoded.half(), text.half())
    assert encoded.dtype == text.dtype == rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.01, atol=0.05)


def test_gradient_checkpointing_gives_the_same_gradients(adapter: Adapter):
    adapter.train()
    adapter.freeze_all_but_trainable()
    gradients = []
    if not adapter.trainable():
        return
    for enable in (False, True):
        adapter.gradient_checkpointing = enable
        adapter.zero_grad()
        loss_of(adapter).backward()
        gradients.append({n: e.parameter.grad.clone() for n, e in adapter.trainable().items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7)


def test_gradient_checkpointing_computes_blocks_again():
    adapter = ALL_BUILDS["vita-clip"](tiny_backbone())
    adapter.freeze_all_but_trainable()
    blocks = []
    adapter.observe = lambda name, value: blocks.append(name)
    adapter.gradient_checkpointing = True
    loss_of(adapter).backward()
    assert blocks.count("visual/block0/attention_input") == 2


@pytest.mark.parametrize(
    "name", [name for name in ALL_BUILDS if find_method(name.split()[0]).cacheable == "frame"]
)
def test_frame_caches_give_the_video(name: str):
    adapter = ALL_BUILDS[name](tiny_backbone())
    video = random_video(frames=FRAMES)
    with torch.no_grad():
        frames = adapter.eval().encode_frames(video)
        pooled = adapter.pool_frames(frames)
        torch.testing.assert_close(pooled, adapter.encode_video(video))
        alone = adapter.encode_frames(video[:, 1:2])
    torch.testing.assert_close(frames[:, 1:2], alone, rtol=1e-5, atol=1e-5)


def test_ensembles_are_averaged(adapter: Adapter):
    with torch.no_grad():
        once = adapter.eval().encode_text(PROMPTS)
        if not once.numel():  # a classifier without text
            assert adapter.name == "linear-probe"
            return
        twice = adapter.encode_text([[*group, *group] for group in PROMPTS])
        mixed = adapter.encode_text([[*group, "something else."] for group in PROMPTS])
    torch.testing.assert_close(once, twice)
    assert once.shape == mixed.shape and not torch.allclose(once, mixed)


def test_initialisation_follows_the_seed():
    for name, build in ALL_BUILDS.items():
        first, same, other = (_seeded(build, seed) for seed in (3, 3, 4))
        new = [key for key in first if not key.startswith("clip.")]
        assert all(torch.equal(first[key], same[key]) for key in new), name
        drawn = [key for key in new if first[key].numel() > 1 and first[key].float().std() > 0]
        if drawn and not name.startswith(("vl-prompt words", "linear-probe", "tip-adapter")):
            assert any(not torch.equal(first[key], other[key]) for key in drawn), name


def _seeded(build, seed: int) -> dict[str, torch.Tensor]:
    backbone = tiny_backbone()
    torch.manual_seed(seed)
    return build(backbone).state_dict()


# Which towers -------------------------------------------------------------------------------------


BETWEEN_BLOCKS = ["vl-prompt", "vita-clip", "x-clip", "ov-multilabel"]


@pytest.mark.parametrize("name", BETWEEN_BLOCKS)
@pytest.mark.parametrize("kind", ["resnet", "pooling"])
def test_other_image_towers_are_refused(name: str, kind: str):
    if kind == "resnet":
        backbone = tiny_backbone(layers=(1, 1, 1, 1), width=8, head_width=8, patch_size=None)
    else:
        backbone = tiny_backbone(pool_type="avg")
    with pytest.raises(UsageError, match=f"{name} puts tokens between the blocks"):
        ALL_BUILDS[name](backbone)


def test_custom_text_towers_are_refused_where_they_cannot_serve():
    backbone = tiny_backbone()
    backbone.clip.attn_mask = None
    with pytest.raises(UsageError, match="not causal"):
        ALL_BUILDS["vita-clip"](backbone)


def test_a_text_tower_of_its_own_module_serves():
    """open_clip's CustomTextCLIP holds the same transformer elsewhere."""
    from open_clip.model import CustomTextCLIP

    backbone = tiny_backbone()
    small = ARCHITECTURE["text_cfg"] | {"vocab_size": VOCABULARY}
    own = CustomTextCLIP(**{**ARCHITECTURE, "text_cfg": small}).eval()
    plain = backbone.clip.state_dict()
    own.load_state_dict(open_clip.model.convert_to_custom_text_state_dict(plain))
    other = type(backbone)(
        own, "custom", None, backbone.tokenizer, backbone.preprocessing, quick_gelu=True
    )
    with torch.no_grad():
        for name in (*BETWEEN_BLOCKS, "coop"):
            results = []
            for each in (backbone, other):
                torch.manual_seed(5)
                results.append(logits_of(ALL_BUILDS[name](each).eval()))
            torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", BETWEEN_BLOCKS)
def test_towers_that_want_the_batch_second_serve(name: str):
    results = []
    for batch_first in (True, False):
        backbone = tiny_backbone()
        for transformer in (backbone.clip.visual.transformer, backbone.clip.transformer):
            transformer.batch_first = batch_first
            for block in transformer.resblocks:
                block.attn.batch_first = batch_first
        torch.manual_seed(5)
        with torch.no_grad():
            results.append(logits_of(ALL_BUILDS[name](backbone).eval()))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", BETWEEN_BLOCKS)
def test_frames_of_another_size_are_refused(name: str):
    adapter = ALL_BUILDS[name](tiny_backbone())
    with pytest.raises(UsageError, match="one size only"):
        adapter.encode_video(torch.zeros(1, FRAMES, 3, 48, 48))


# ViFi-CLIP ----------------------------------------------------------------------------------------


def test_vifi_without_training_is_clip():
    backbone = tiny_backbone()
    with torch.no_grad():
        assert torch.equal(logits_of(VifiClipAdapter(backbone)), logits_of(ClipAdapter(backbone)))


@pytest.mark.parametrize("tune", ["both", "image", "text"])
def test_vifi_tunes_the_named_tower(tune: str):
    names = set(VifiClipAdapter(tiny_backbone(), VifiClipConfig(tune)).trainable())
    assert any(name.startswith("clip.visual.") for name in names) == (tune != "text")
    assert ("clip.transformer.resblocks.0.ln_1.weight" in names) == (tune != "image")
    assert ("clip.logit_scale" in names) == (tune == "both")
    assert "clip.token_embedding.weight" not in names


def test_vifi_refuses_an_unknown_tower():
    with pytest.raises(SpecError, match="did you mean 'image'"):
        VifiClipConfig(tune="images")


def test_interpolation_runs_from_the_original_to_the_tuned_weights():
    backbone = tiny_backbone()
    adapter = VifiClipAdapter(backbone)
    original = logits_of(ClipAdapter(backbone)).detach()
    start = {n: p.detach().clone() for n, p in adapter.named_parameters()}
    with pytest.raises(UsageError, match="not known"):
        adapter.interpolate(0.5)
    tuned = {n: e.parameter.detach() + 0.01 for n, e in adapter.trainable().items()}
    adapter.load_tensors(tuned)
    finished = logits_of(adapter).detach()
    adapter.interpolate(0.25)
    for name, parameter in adapter.named_parameters():
        expected = start[name] + (0.0025 if name in tuned else 0)
        torch.testing.assert_close(parameter.detach(), expected)
    adapter.interpolate(0)
    assert torch.equal(logits_of(adapter), original)
    adapter.interpolate(1)
    assert torch.equal(logits_of(adapter), finished)
    with pytest.raises(UsageError, match="between 0 and 1"):
        adapter.interpolate(1.5)


# Vision and language prompts ----------------------------------------------------------------------


def test_prompts_reach_as_deep_as_named():
    adapter = VlPromptAdapter(tiny_backbone(), VlPromptConfig(3, 6, 2, 12))
    assert adapter.vision_prompts.shape == (2, 3, 64)
    assert adapter.text_prompts.shape == (3, 6, 64)
    loss_of(adapter).backward()
    for prompts in (adapter.vision_prompts, adapter.text_prompts):
        assert all(gradient.abs().max() > 0 for gradient in prompts.grad)


@pytest.mark.parametrize("first", [0, 1])
def test_deep_prompts_against_hooks_on_the_whole_tower(first: int):
    """open_clip's own forward pass, with tokens exchanged by hooks at the entry of its blocks."""
    backbone = tiny_backbone()
    clip, video = backbone.clip, random_video()
    adapter = VlPromptAdapter(backbone, VlPromptConfig(3, 6, 3, 2, text_first=first)).eval()
    with torch.no_grad():
        text, frames = adapter.encode_text(PROMPTS), adapter.encode_frames(video)

    def put(prompts: torch.Tensor, start: int, end: int | None):
        def hook(module, inputs):
            tokens = inputs[0].clone()
            tokens[:, start:end] = prompts
            return (tokens, *inputs[1:])

        return hook

    def append(module, inputs):
        prompts = adapter.vision_prompts[0].expand(len(inputs[0]), -1, -1)
        return (torch.cat([inputs[0], prompts], dim=1),)

    clip.visual.ln_pre.register_forward_pre_hook(append)
    for index in (1, 2):
        block = clip.visual.transformer.resblocks[index]
        block.register_forward_pre_hook(put(adapter.vision_prompts[index], -3, None))
    second = adapter.text_prompts[1 - first]
    clip.transformer.resblocks[1].register_forward_pre_hook(put(second, 1, 7))
    if first:
        prompts = [f"a photo of a {group[0]}" for group in PROMPTS]
    else:
        prompts = [f"X X X X X X {group[0]}" for group in PROMPTS]
        positions = clip.positional_embedding[1:7]
        enter = put(adapter.text_prompts[0] + positions, 1, 7)
        clip.transformer.resblocks[0].register_forward_pre_hook(enter)
    with torch.no_grad():
        whole = clip.encode_text(backbone.tokenize(prompts), normalize=True)
        images = clip.encode_image(video.flatten(0, 1)).unflatten(0, (2, 4))
    torch.testing.assert_close(text, whole, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(frames, images, rtol=1e-5, atol=1e-5)


def test_only_text_prompts():
    adapter = VlPromptAdapter(tiny_backbone(), VlPromptConfig(3, 6, 0, 1))
    assert set(adapter.trainable()) == {"text_prompts"}
    backbone = adapter.backbone
    with torch.no_grad():
        plain = ClipAdapter(backbone).encode_video(random_video())
        torch.testing.assert_close(adapter.encode_video(random_video()), plain)


def test_few_text_tokens_start_from_words():
    backbone = tiny_backbone()
    adapter = VlPromptAdapter(backbone, VlPromptConfig(2, 4, 1, 1))
    ids = backbone.tokenize(["a photo of a"])[0, 1:5]
    assert torch.equal(adapter.text_prompts[0], backbone.clip.token_embedding.weight[ids])
    with torch.no_grad():  # untrained, it says what CLIP is told in the same words
        expected = ClipAdapter(backbone).encode_text([["a photo of a yoga."]])
        torch.testing.assert_close(adapter.encode_text([["yoga."]]), expected)


def test_many_text_tokens_start_at_random():
    adapter = VlPromptAdapter(tiny_backbone(), VlPromptConfig(2, 16, 1, 1))
    assert 0.01 < adapter.text_prompts.std() < 0.03


# Vita-CLIP ----------------------------------------------------------------------------------------


def test_vita_takes_another_number_of_frames():
    adapter = ALL_BUILDS["vita-clip"](tiny_backbone()).eval()
    assert adapter.tied_frames is None
    with torch.no_grad():
        for frames in (1, 3, 8):
            video = adapter.encode_video(random_video(frames=frames))
            assert video.shape == (2, 64) and video.isfinite().all()


def test_time_is_resized_by_nearest_neighbour():
    values = torch.arange(4.0)[:, None]
    assert resize_over_time(values, 4) is values
    assert resize_over_time(values, 8).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert resize_over_time(values, 2).flatten().tolist() == [0, 2]


def test_vita_sees_the_order_of_frames():
    adapter = ALL_BUILDS["vita-clip"](tiny_backbone()).eval()
    video = random_video(frames=FRAMES)
    with torch.no_grad():
        forward, backward = adapter.encode_video(video), adapter.encode_video(video.flip(1))
    assert (forward - backward).abs().max() > 1e-3


def test_a_class_specific_context_refuses_other_classes():
    adapter = ALL_BUILDS["vita-clip specific"](tiny_backbone())
    assert adapter.tied_classes == CLASSES
    adapter.check_classes(CLASSES)
    with pytest.raises(ComparisonRefused, match="'yoga'"):
        adapter.check_classes(["yoga", *CLASSES[1:]])
    with pytest.raises(ComparisonRefused, match="another order"):
        adapter.check_classes(CLASSES[::-1])
    with pytest.raises(ComparisonRefused, match="2 classes"):
        adapter.encode_text(PROMPTS[:2])


def test_a_class_specific_context_needs_classes():
    with pytest.raises(UsageError, match="names of the classes"):
        VitaClipAdapter(tiny_backbone(), VitaClipConfig(class_specific=True))


def test_a_shared_context_takes_any_classes():
    adapter = ALL_BUILDS["vita-clip"](tiny_backbone())
    adapter.check_classes(["anything"])
    assert adapter.encode_text([["anything."]]).shape == (1, 64)


def test_the_class_name_stands_where_it_is_told_to():
    backbone, texts, inputs = tiny_backbone(), {}, {}
    name = backbone.clip.token_embedding(backbone.tokenize(["brush hair"])[0, 1:3])
    for position in ("end", "front", "middle"):
        torch.manual_seed(2)
        config = VitaClipConfig(**VITA, class_position=position)
        adapter = VitaClipAdapter(backbone, config)
        adapter.observe = inputs.__setitem__
        texts[position] = adapter.encode_text(PROMPTS[:1])
        start = {"end": 4, "front": 1, "middle": 2}[position]
        assert torch.equal(inputs["text/input"][0, start : start + 2], name)
    assert not torch.allclose(texts["end"], texts["front"])
    with pytest.raises(SpecError, match="did you mean 'middle'"):
        VitaClipConfig(class_position="midle")


def test_vita_context_from_words():
    backbone = tiny_backbone()
    config = VitaClipConfig(FRAMES, context_words="a_video of", text_context=8)
    adapter = VitaClipAdapter(backbone, config)
    assert adapter.text_context.shape == (3, 64)
    with torch.no_grad():
        expected = ClipAdapter(backbone).encode_text([["a video of yoga."]])
        torch.testing.assert_close(adapter.encode_text([["yoga."]]), expected)


def test_vita_initial_values():
    adapter = VitaClipAdapter(tiny_backbone(), VitaClipConfig(FRAMES, text_context=16))
    bound = (6 / (3 * 16 * 16 + 64)) ** 0.5
    for block in adapter.prompts:
        for prompts in (block.local_prompts, block.global_prompts):
            assert 0.8 * bound < prompts.abs().max() <= bound
    assert 0.01 < adapter.time_embedding.std() < 0.03
    torch.testing.assert_close(adapter.logit_scale().item(), 1 / 0.07)
    assert adapter.clip.logit_scale is not adapter.log_logit_scale


# X-CLIP -------------------------------------------------------------------------------------------


def test_x_clip_is_tied_to_its_frames():
    adapter = ALL_BUILDS["x-clip"](tiny_backbone())
    assert adapter.tied_frames == FRAMES
    with pytest.raises(UsageError, match="found 8 frames; expected 4 frames"):
        adapter.encode_video(random_video(frames=8))


def test_x_clip_text_depends_on_the_video():
    adapter = ALL_BUILDS["x-clip"](tiny_backbone()).eval()
    seen: dict[str, torch.Tensor] = {}
    adapter.observe = seen.__setitem__
    with torch.no_grad():
        encoded = adapter.encode_video(random_video(frames=FRAMES))
        adapter.score(encoded, adapter.encode_text(PROMPTS))
    assert encoded.shape == (2, 1 + 4, 64)  # the video, then its four patches
    assert (seen["text/offset"][0] - seen["text/offset"][1]).abs().max() > 0
    assert adapter.prompt_scale.unique().tolist() == pytest.approx([0.1])


def test_x_clip_groups_and_decay():
    training = ALL_BUILDS["x-clip"](tiny_backbone()).trainable()
    assert XClipAdapter.learning_rate_factors == {"base": 1.0, "new": 10.0}
    for name, entry in training.items():
        assert entry.group == ("base" if name.startswith("clip.visual.") else "new")
        assert not name.startswith("clip.") or name.startswith("clip.visual.")
        bias = name.endswith((".bias", "in_proj_bias"))
        table = "positional_embedding" in name or name == "integration_positions"
        assert entry.decay == (entry.parameter.ndim > 1 and not bias and not table), name


def test_x_clip_drop_path_acts_in_training_only():
    torch.manual_seed(0)
    adapter = XClipAdapter(tiny_backbone(), XClipConfig(FRAMES, drop_path=0.5))
    assert [drop.drop_prob for drop in adapter.drop_paths] == [0, 0.25, 0.5]
    video = random_video(frames=FRAMES)
    with torch.no_grad():
        assert torch.equal(adapter.eval().encode_video(video), adapter.encode_video(video))
        adapter.train()
        assert not torch.equal(adapter.encode_video(video), adapter.encode_video(video))


# How much trains, for ViT-B/16 --------------------------------------------------------------------

KINETICS = tuple(f"class {index}" for index in range(400))
COUNTS = {
    "vifi-clip": (lambda b: VifiClipAdapter(b), 124_323_841),
    "vifi-clip image": (lambda b: VifiClipAdapter(b, VifiClipConfig("image")), 86_192_640),
    "vifi-clip text": (lambda b: VifiClipAdapter(b, VifiClipConfig("text")), 38_131_200),
    "vl-prompt": (lambda b: VlPromptAdapter(b), 9 * 16 * (768 + 512)),
    # sixteen text tokens for each class of Kinetics-400
    "vita-clip": (
        lambda b: VitaClipAdapter(
            b, VitaClipConfig(text_context=16, class_specific=True, classes=KINETICS)
        ),
        38_884_353,
    ),
    "x-clip": (lambda b: XClipAdapter(b), 131_501_056),
}


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_trainable_parameters_at_the_papers_settings(name: str):
    build, expected = COUNTS[name]
    with torch.device("meta"):
        model = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-16-quickgelu"))
        backbone = type(tiny_backbone())(
            model, "ViT-B-16-quickgelu", None, _meta_tokenizer, None, quick_gelu=True
        )
        adapter = build(backbone)
    count = sum(entry.parameter.numel() for entry in adapter.trainable().values())
    assert count == expected


def _meta_tokenizer(prompts: list[str]) -> torch.Tensor:
    return torch.zeros(len(prompts), 77, dtype=torch.long)
