"""The methods that are fitted on embeddings: against a few lines of their own arithmetic."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import CLASSES, PROMPTS, random_video, tiny_backbone
from tiny_clip import embedded_examples as examples
from torch.nn.functional import cross_entropy

from vclip_cli.common.errors import ComparisonRefused, SpecError, UsageError
from vclip_cli.models import load_adapter
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.adapters.coop import CoopAdapter, CoopConfig, epochs_for, rate_of
from vclip_cli.models.adapters.linear_probe import LinearProbeAdapter, LinearProbeConfig
from vclip_cli.models.adapters.parts.shared_prefix import packed_mask
from vclip_cli.models.adapters.tip_adapter import TipAdapter, TipAdapterConfig
from vclip_cli.models.adapters.vifi_clip import VifiClipAdapter, VifiClipConfig
from vclip_cli.models.adapters.vita_clip import VitaClipAdapter, VitaClipConfig
from vclip_cli.models.adapters.vl_prompt import VlPromptAdapter, VlPromptConfig
from vclip_cli.models.checkpoint import save_checkpoint
from vclip_cli.models.contract import Adapter
from vclip_cli.models.fitting import FitOptimizer, Fitting, hold_back

FITTING = Fitting(seed=3, batch_size=8, epochs=4)


def build(kind: str) -> Adapter:
    torch.manual_seed(1)
    backbone = tiny_backbone()
    return {
        "linear-probe": lambda: LinearProbeAdapter(backbone, LinearProbeConfig(classes=CLASSES)),
        "tip-adapter": lambda: TipAdapter(backbone, TipAdapterConfig(classes=CLASSES)),
        "tip-adapter-f": lambda: TipAdapter(backbone, TipAdapterConfig(True, classes=CLASSES)),
        "coop": lambda: CoopAdapter(backbone, CoopConfig(4)),
        "coop-specific": lambda: CoopAdapter(
            backbone, CoopConfig(4, class_specific=True, classes=CLASSES)
        ),
        "coop-words": lambda: CoopAdapter(backbone, CoopConfig(context_words="a photo of a")),
    }[kind]()


KINDS = ["linear-probe", "tip-adapter", "tip-adapter-f", "coop", "coop-specific", "coop-words"]
OWN = {
    "linear-probe": {"weight", "bias"},
    "tip-adapter": {"keys", "values", "alpha", "beta"},
    "tip-adapter-f": {"keys", "values", "alpha", "beta"},
    "coop": {"context"},
    "coop-specific": {"context"},
    "coop-words": {"context"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_its_own_tensors_change(kind: str):
    adapter = build(kind)
    before = copy.deepcopy(adapter.state_dict())
    fitted = adapter.fit(*examples(), PROMPTS, FITTING)
    after = adapter.state_dict()
    changed = {
        n for n in after if before[n].shape != after[n].shape or bool((before[n] != after[n]).any())
    }
    assert changed <= OWN[kind]
    assert changed >= OWN[kind] - {"alpha", "beta"}
    assert set(adapter.checkpoint_tensors()) == OWN[kind]
    assert all(np.isfinite(row).all() for row in fitted.losses)


@pytest.mark.parametrize("kind", KINDS)
def test_two_fits_are_equal_and_a_checkpoint_gives_the_same_scores(kind: str, tmp_path: Path):
    one, two = build(kind), build(kind)
    for adapter in (one, two):
        adapter.fit(*examples(), PROMPTS, FITTING)
    for name, value in one.checkpoint_tensors().items():
        assert value.equal(two.checkpoint_tensors()[name]), name
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, one, base_sha256=one.backbone.weights_sha256)
    loaded = load_adapter(path, backbone=tiny_backbone())
    video = examples(seed=5)[0]
    with torch.no_grad():
        scores = [a.score(video, a.encode_text(PROMPTS)) for a in (one, loaded)]
    assert scores[0].equal(scores[1])
    assert loaded.tied_classes == one.tied_classes


# Linear probe -------------------------------------------------------------------------------------


def test_the_probe_is_the_minimum_of_its_loss():
    """Refit by plain gradient descent on scikit-learn's own objective, at the C that was chosen."""
    adapter, (x, y) = build("linear-probe"), examples()
    strength = adapter.fit(x, y, PROMPTS, FITTING).chosen["C"]
    x, weight = x.double(), torch.zeros(3, 64, dtype=torch.double, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=2000, tolerance_grad=1e-10)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(x @ weight.T + bias, y, reduction="sum")
        loss = strength * loss + 0.5 * (weight**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    probabilities = (x @ weight.T + bias).softmax(dim=1).detach()
    mine = adapter.score(x.float(), None).softmax(dim=1).detach().double()
    torch.testing.assert_close(mine, probabilities, atol=2e-3, rtol=0)


def test_the_strength_is_the_best_on_what_was_held_back():
    from sklearn.linear_model import LogisticRegression

    adapter, (x, y) = build("linear-probe"), examples()
    chosen = adapter.fit(x, y, PROMPTS, FITTING).chosen
    kept, held = hold_back(y.numpy(), FITTING.seed)
    accuracy = {
        c: LogisticRegression(C=c, max_iter=1000).fit(x[kept], y[kept]).score(x[held], y[held])
        for c in adapter.config.grid
    }
    assert chosen["C"] == min(c for c in accuracy if accuracy[c] == max(accuracy.values()))
    assert chosen["held_back"] == len(held) == 6


def test_one_shot_and_missing_classes_and_two_classes():
    x, y = examples(shots=1)
    adapter = build("linear-probe")
    assert adapter.fit(x, y, PROMPTS, FITTING).chosen == {
        "C": 100.0, "held_back": 0, "shots": 1, "held_back_top1": {}
    }  # fmt: skip
    assert adapter.score(x, None).argmax(dim=1).equal(y)
    x, y = examples()
    there = y != 1
    adapter.fit(x[there], y[there], PROMPTS, FITTING)
    probabilities = adapter.score(x, None).softmax(dim=1)
    assert (probabilities[:, 1] == 0).all()
    assert (probabilities.argmax(dim=1) == y)[there].float().mean() > 0.9


def test_a_grid_that_makes_no_sense():
    for grid in ((), (0.0, 1.0)):
        with pytest.raises(SpecError, match="grid"):
            LinearProbeConfig(grid=grid)


# Tip-Adapter --------------------------------------------------------------------------------------


def test_the_training_free_cache_against_numpy():
    adapter, (x, y) = build("tip-adapter"), examples()
    chosen = adapter.fit(x, y, PROMPTS, FITTING).chosen
    video = examples(seed=9)[0]
    with torch.no_grad():
        text = adapter.encode_text(PROMPTS)
        scores = adapter.score(video, text).numpy()
        scale = adapter.logit_scale().item()
    v, keys, one_hot = video.numpy(), x.numpy(), np.eye(3)[y.numpy()]
    cache = np.exp(-chosen["beta"] * (1 - v @ keys.T)) @ one_hot
    np.testing.assert_allclose(
        scores, scale * v @ text.numpy().T + chosen["alpha"] * cache, rtol=1e-5, atol=1e-5
    )


def test_alpha_and_beta_are_the_best_on_what_was_held_back():
    adapter, (x, y) = build("tip-adapter"), examples()
    chosen = adapter.fit(x, y, PROMPTS, FITTING).chosen
    kept, held = hold_back(y.numpy(), FITTING.seed)
    with torch.no_grad():
        zero_shot = adapter.logit_scale() * x[held] @ adapter.encode_text(PROMPTS).T
    one_hot = torch.eye(3)[y[kept]]

    def top1(alpha: float, beta: float) -> float:
        cache = torch.exp(-beta * (1 - x[held] @ x[kept].T)) @ one_hot
        return 100 * float(((zero_shot + alpha * cache).argmax(1) == y[held]).float().mean())

    grid = [(a, b) for a in np.linspace(0.1, 3, 20) for b in np.linspace(0.1, 7, 20)]
    assert chosen["held_back_top1"] == pytest.approx(max(top1(a, b) for a, b in grid))
    assert top1(chosen["alpha"], chosen["beta"]) == pytest.approx(chosen["held_back_top1"])


def test_the_start_values_stay_where_nothing_can_be_searched():
    adapter = build("tip-adapter")
    chosen = adapter.fit(*examples(shots=1), PROMPTS, FITTING).chosen
    assert (chosen["alpha"], chosen["beta"], chosen["held_back"]) == (1.0, 5.5, 0)
    fixed = TipAdapter(tiny_backbone(), TipAdapterConfig(alpha=2.0, beta=3.0, classes=CLASSES))
    chosen = fixed.fit(*examples(), PROMPTS, FITTING).chosen
    assert (chosen["alpha"], chosen["beta"]) == (2.0, 3.0)
    with pytest.raises(SpecError, match="negative"):
        TipAdapterConfig(alpha=-1)


def test_fine_tuned_keys_lower_the_loss():
    adapter = build("tip-adapter-f")
    losses = adapter.fit(*examples(), PROMPTS, FITTING).losses
    assert len(losses) == 4 * 3
    assert np.mean([row[1] for row in losses[-3:]]) < np.mean([row[1] for row in losses[:3]])
    assert set(adapter.trainable()) == {"keys"}
    assert build("tip-adapter").trainable() == {}


# CoOp ---------------------------------------------------------------------------------------------


def whole_tower(adapter: CoopAdapter, context: torch.Tensor, prompt: str):
    """One prompt through all of CLIP's own text tower, with the context put in by a hook."""
    clip, backbone = adapter.clip, adapter.backbone
    length = context.shape[0]

    def put(module, inputs, output):
        return torch.cat([output[:, :1], context[None], output[:, 1 + length :]], dim=1)

    words = "a photo of a" if adapter.config.context_words else " ".join(["X"] * length)
    handle = clip.token_embedding.register_forward_hook(put)
    try:
        ids = backbone.tokenize([f"{words} {prompt}"])
        return clip.encode_text(ids, normalize=True)[0]
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["coop", "coop-specific", "coop-words"])
def test_the_shared_prefix_changes_nothing(kind: str, monkeypatch: pytest.MonkeyPatch):
    from vclip_cli.models.adapters.parts import shared_prefix

    monkeypatch.setattr(shared_prefix, "GROUP", 2)
    adapter = build(kind)
    text = adapter.encode_text(PROMPTS)
    contexts = adapter.context if adapter.context.ndim == 3 else [adapter.context] * 3
    pairs = list(zip(contexts, PROMPTS, strict=True))
    expected = torch.stack([whole_tower(adapter, c, prompt[0]) for c, prompt in pairs])
    torch.testing.assert_close(text, expected, rtol=1e-5, atol=1e-5)
    weight = torch.randn(text.shape, generator=torch.Generator().manual_seed(0))
    gradients = [
        torch.autograd.grad((values * weight).sum(), adapter.context)[0]
        for values in (text, expected)
    ]
    assert gradients[1].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_the_mask_of_packed_prompts():
    allowed = (packed_mask(2, [1, 2]) == 0).int().tolist()
    assert allowed == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_a_step_of_coop_is_a_step_of_sgd():
    adapter, (x, y) = build("coop"), examples()
    start = adapter.context.detach().clone().requires_grad_()
    prompts = [prompt[0] for prompt in PROMPTS]
    text = torch.stack([whole_tower(adapter, start, prompt) for prompt in prompts])
    loss = cross_entropy(adapter.logit_scale().detach() * x @ text.T, y)
    gradient = torch.autograd.grad(loss, start)[0]
    optimizer = FitOptimizer("sgd", learning_rate=0.5, weight_decay=0.1)
    fitted = adapter.fit(x, y, PROMPTS, Fitting(0, len(x), optimizer, epochs=1))
    assert fitted.losses[0][1] == pytest.approx(loss.item(), rel=1e-5)
    expected = start - 0.5 * (gradient + 0.1 * start)
    torch.testing.assert_close(adapter.context, expected, rtol=1e-3, atol=1e-5)


def test_the_papers_schedule():
    assert [epochs_for(shots) for shots in (1, 2, 4, 8, 16)] == [50, 100, 100, 200, 200]
    rates = [rate_of(epoch, 50, 2e-3) for epoch in range(50)]
    assert rates[0] == 1e-5
    assert rates[25] == pytest.approx(1e-3)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    adapter = build("coop")
    fitted = adapter.fit(*examples(shots=1), PROMPTS, Fitting(0, 8))
    assert fitted.chosen == {"shots": 1, "epochs": 50} and len(fitted.losses) == 50


def test_a_shared_context_scores_anything_and_a_specific_one_its_classes_only():
    assert build("coop").encode_text([["yoga."], ["pour."]]).shape == (2, 64)
    assert build("coop").tied_classes is None
    specific = build("coop-specific")
    assert specific.tied_classes == CLASSES
    with pytest.raises(ComparisonRefused, match="2 classes"):
        specific.encode_text(PROMPTS[:2])
    with pytest.raises(UsageError, match="names of the classes"):
        CoopAdapter(tiny_backbone(), CoopConfig(class_specific=True))
    with pytest.raises(SpecError, match="context_tokens"):
        CoopConfig(0)


# What is held back --------------------------------------------------------------------------------


def test_what_is_held_back_is_stratified_and_seeded():
    y = np.repeat([0, 1, 2, 3], [1, 2, 8, 16])
    kept, held = hold_back(y, 1)
    assert sorted([*kept, *held]) == list(range(len(y)))
    assert np.bincount(y[held], minlength=4).tolist() == [0, 1, 2, 4]
    assert held.tolist() == hold_back(y, 1)[1].tolist() != hold_back(y, 2)[1].tolist()


# The image side -----------------------------------------------------------------------------------


def test_who_shares_embeddings_and_who_does_not():
    backbone = tiny_backbone()
    plain = ClipAdapter(backbone).video_identity
    sharing = [*map(build, KINDS), VifiClipAdapter(backbone, VifiClipConfig("text"))]
    assert all(adapter.video_identity == plain for adapter in sharing)
    others = [
        VifiClipAdapter(backbone),
        VlPromptAdapter(backbone, VlPromptConfig(3, 6, 2, 2)),
        VitaClipAdapter(backbone, VitaClipConfig(4)),
        ClipAdapter(tiny_backbone(seed=1)),
    ]
    sides = [plain, *(adapter.video_identity for adapter in others)]
    assert all(a != b for i, a in enumerate(sides) for b in sides[:i])


def test_the_image_side_follows_the_weights_and_the_code():
    tuned = VifiClipAdapter(tiny_backbone())
    before = tuned.video_identity
    with torch.no_grad():
        tuned.clip.visual.proj.add_(1)
    assert tuned.video_identity != before

    class Flipped(ClipAdapter):
        name = "flipped"

        def encode_frames(self, frames):
            return super().encode_frames(frames.flip(-1))

    assert Flipped(tiny_backbone()).video_identity != ClipAdapter(tiny_backbone()).video_identity


def test_embeddings_are_what_the_video_side_says():
    adapter, video = ClipAdapter(tiny_backbone()), random_video()
    with torch.no_grad():
        assert adapter.encode_video(video).equal(adapter.pool_frames(adapter.encode_frames(video)))
