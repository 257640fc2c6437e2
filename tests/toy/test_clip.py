"""The tiny CLIP: what its weights can tell, and the command that trained them."""

import itertools

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import load_backbone
from vclip_cli.toy import render_toy, toy_videos, train_clip
from vclip_cli.toy.drawing import generator
from vclip_cli.toy.stills import FACETS, draw_caption, draw_sentence, draw_still
from vclip_cli.toy.world import AXES, MOTIONS, SHAPES, class_name
from vclip_cli.video import read_frames

WEIGHTS = train_clip.CONFIG.with_suffix(".safetensors")


@pytest.fixture(scope="module")
def clip() -> ClipAdapter:
    return ClipAdapter(load_backbone("toy")).eval()


@torch.no_grad()
def embed_texts(clip: ClipAdapter, names: list[str]) -> torch.Tensor:
    return clip.encode_text([[f"a photo of a {name}."] for name in names])


def test_the_weights_are_small_and_load_as_a_standard_tower(clip):
    assert WEIGHTS.stat().st_size <= 8_000_000
    assert clip.backbone.quick_gelu
    assert clip.backbone.preprocessing.size == 64
    assert clip.clip.token_embedding.num_embeddings == 49408
    assert clip.clip.visual.class_embedding is not None


def test_shapes_are_recognised_in_encoded_test_clips(clip, tmp_path):
    chosen = [c for c in toy_videos() if c.split == "test" and c.video_id.endswith(("0", "1", "2"))]
    render_toy(tmp_path, only=[c.video_id for c in chosen])
    frames = np.stack([read_frames(tmp_path / c.path, frames=8) for c in chosen])
    spec = clip.preprocessing
    pixels = (torch.from_numpy(frames) / 255 - torch.tensor(spec.mean)) / torch.tensor(spec.std)
    with torch.no_grad():
        videos = clip.encode_video(pixels.permute(0, 1, 4, 2, 3))
        logits = clip.score(videos, embed_texts(clip, list(SHAPES)))
    right = [SHAPES[i] == c.shape for i, c in zip(logits.argmax(dim=1), chosen, strict=True)]
    assert len(right) == 42 * 3
    assert np.mean(right) >= 0.9


def test_texts_that_differ_only_in_the_motion_are_told_apart(clip):
    texts = embed_texts(clip, [class_name(*pair) for pair in itertools.product(SHAPES, MOTIONS)])
    by_shape = texts.reshape(len(SHAPES), len(MOTIONS), -1)
    cosines = by_shape @ by_shape.transpose(1, 2)
    off_diagonal = ~torch.eye(len(MOTIONS), dtype=torch.bool)
    assert cosines[:, off_diagonal].mean() <= 0.9
    opposite = [(MOTIONS.index(a.rising), MOTIONS.index(a.falling)) for a in AXES.values()]
    assert max(float(cosines[:, i, j].max()) for i, j in opposite) < 0.95


def test_tokens_that_no_caption_used_keep_small_different_values(clip):
    table = clip.clip.token_embedding.weight
    ids = clip.backbone.tokenize(["archery", "juggling"])[:, 1]
    assert table[ids].norm(dim=1).max() < 1
    assert not torch.equal(table[ids[0]], table[ids[1]])


def test_captions_and_facets_say_what_is_true():
    rng = generator("captions")
    for _ in range(200):
        still = draw_still(rng)
        caption = draw_caption(rng, still)
        assert still.scene.shape in caption
        assert still.motion is not None or not any(motion in caption for motion in MOTIONS)
        true = dict(zip(FACETS, still.facets(), strict=True))
        assert FACETS["shape"][true["shape"]] == still.scene.shape
        assert (true["motion"] == -1) == (true["pair"] == -1) == (still.motion is None)
        if still.motion is not None:
            assert FACETS["pair"][true["pair"]] == class_name(still.scene.shape, still.motion)


def test_the_short_text_path_of_training_is_the_text_tower():
    clip, vocabulary = train_clip.build(seed=0)
    rng = generator("captions")
    captions = [draw_caption(rng, draw_still(rng)) for _ in range(20)]
    captions += [draw_sentence(rng, phrase) for bank in FACETS.values() for phrase in bank]
    rows = clip.token_embedding.weight[vocabulary.ids]
    tokenizer = load_backbone("toy", "random").tokenizer
    with torch.no_grad():
        short = train_clip.encode_captions(clip, rows, vocabulary.encode(captions))
        torch.testing.assert_close(short, clip.encode_text(tokenizer(captions)))


def test_a_token_outside_the_captions_is_refused():
    _, vocabulary = train_clip.build(seed=0)
    with pytest.raises(ValueError, match="vocabulary"):
        vocabulary.encode(["a photo of archery."])


def test_equal_captions_share_the_target():
    images = normalize(torch.eye(3)[[0, 0, 1]], dim=-1)
    logits = 100 * images @ images.T
    captions = ["a square.", "a square.", "a star."]
    shared = train_clip.contrastive_loss(logits, captions)
    assert shared == pytest.approx(2 / 3 * np.log(2), rel=1e-4)
    apart = train_clip.contrastive_loss(logits + torch.diag(torch.tensor([9.0, 9, 9])), captions)
    assert apart > shared + 1


def test_facets_without_a_true_phrase_are_left_out():
    logits = torch.zeros(2, sum(len(bank) for bank in FACETS.values()))
    facets = torch.full((2, len(FACETS)), -1)
    assert train_clip.facet_loss(logits, facets) == 0
    facets[0, 0] = 3
    assert train_clip.facet_loss(logits, facets) == pytest.approx(np.log(len(SHAPES)))


def test_some_steps_of_training_reduce_the_loss_and_repeat():
    def run() -> tuple[dict[str, torch.Tensor], list[float]]:
        losses: list[float] = []
        weights = train_clip.train(
            seed=0,
            steps=10,
            reading_steps=10,
            batch=32,
            stills=64,
            report=lambda done, loss: losses.append(loss),
        )
        return weights, losses

    weights, losses = run()
    reading, both = losses[:10], losses[10:]
    assert np.mean(reading[-4:]) < np.mean(reading[:4]) - 0.5
    assert np.mean(both[-4:]) < np.mean(both[:4]) - 0.5
    assert all(value.dtype == torch.float16 for value in weights.values())
    again, same_losses = run()
    assert losses == same_losses
    assert all(torch.equal(again[name], value) for name, value in weights.items())


def test_the_command_writes_a_file_that_loads(tmp_path, capsys):
    out = tmp_path / "tiny.safetensors"
    threads = torch.get_num_threads()
    sizes = {"--steps": "1", "--reading-steps": "1", "--batch-size": "4", "--stills": "8"}
    try:
        train_clip.main(["--out", str(out), *(word for pair in sizes.items() for word in pair)])
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    assert capsys.readouterr().out.strip() == str(out)
    assert load_backbone("toy", str(out)).weights_sha256 != load_backbone("toy").weights_sha256
