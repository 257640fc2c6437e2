"""The method `clip` against open_clip used by hand, on the same frames."""

from __future__ import annotations

from pathlib import Path

import make_clips
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from vclip_cli import load_model
from vclip_cli.video import read_frames

LABELS = ["push up", "pour", "ride bike", "play the guitar"]


@pytest.mark.parametrize("architecture", ["ViT-B-32", "ViT-B-16"])
@pytest.mark.parametrize("suffix", ["", "-quickgelu"])
def test_equals_open_clip_by_hand(architecture: str, suffix: str, tmp_path: Path) -> None:
    clip = make_clips.write_clip(tmp_path / "clip.mp4", size=(322, 242), frames=40)
    name = architecture + suffix
    torch.manual_seed(5)
    model, _, preprocess = open_clip.create_model_and_transforms(name, pretrained=None)
    weights = tmp_path / "weights.pt"
    torch.save(model.state_dict(), weights)
    model.eval()
    tokenize = open_clip.get_tokenizer(name)
    with torch.no_grad():
        frames = read_frames(clip, frames=4)
        pixels = torch.stack([preprocess(Image.fromarray(frame)) for frame in frames])
        video = model.encode_image(pixels).mean(dim=0)
        video = video / video.norm()
        text = model.encode_text(tokenize([f"a photo of a {label}." for label in LABELS]))
        text = text / text.norm(dim=-1, keepdim=True)
        by_hand = (model.logit_scale.exp() * text @ video).softmax(dim=0).numpy()

    model = load_model(
        "clip", backbone=name, pretrained=str(weights), frames=4, device="cpu", cache=False
    )
    scores = dict(model.classify(clip, LABELS).itertuples(index=False))
    np.testing.assert_allclose([scores[label] for label in LABELS], by_hand, atol=1e-5, rtol=0)
    assert model.backbone["quick_gelu"] == bool(suffix)
