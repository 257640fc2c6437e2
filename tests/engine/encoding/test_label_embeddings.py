"""Label embeddings as a file: made once, extended, used instead of the text side, refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import tiny_backbone
from tiny_language_model import write_tiny_language_model

from vclip_cli.common.errors import DataError, WeightsError
from vclip_cli.engine.encoding.label_embeddings import (
    embed_labels,
    read_label_embeddings,
    stored_text,
)
from vclip_cli.engine.encoding.model import LoadedMethod
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos, toy_folder
from vclip_cli.engine.specs import ComputeSpec
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.results.predictions import read_predictions

CPU = ComputeSpec(device="cpu")


class CountingAdapter(ClipAdapter):
    """CLIP that counts the labels that pass its text side, and spends no time on them."""

    encoded = 0

    def encode_text(self, prompts):
        self.encoded += len(prompts)
        lengths = torch.tensor([[float(len(own[0])), float(hash(own[0]) % 97)] for own in prompts])
        return torch.nn.functional.normalize(lengths, dim=-1)


def loaded(seed: int = 0) -> LoadedMethod:
    backbone = tiny_backbone(seed)
    return LoadedMethod(CountingAdapter(backbone).eval(), backbone.describe(), None, None)


def names(count: int, first: int = 0) -> tuple[list[str], list[list[str]]]:
    labels = [f"label {number}" for number in range(first, first + count)]
    return labels, [[f"a photo of a {label}."] for label in labels]


def test_a_thousand_more_labels_encode_a_thousand(tmp_path: Path) -> None:
    path, method = tmp_path / "labels.safetensors", loaded()
    first = embed_labels(method, *names(10_000), CPU, path)
    assert (first.encoded, first.kept, first.total) == (10_000, 0, 10_000)
    assert method.adapter.encoded == 10_000
    more = embed_labels(method, *names(11_000), CPU, path)
    assert (more.encoded, more.kept, more.total) == (1_000, 10_000, 11_000)
    assert method.adapter.encoded == 11_000
    again = embed_labels(method, *names(500, first=10_200), CPU, path)
    assert (again.encoded, again.total) == (0, 11_000)
    _, prompts = names(3, first=10_500)
    wanted = method.adapter.encode_text(prompts)
    torch.testing.assert_close(stored_text(path, method, prompts, CPU), wanted)


def test_other_weights_and_missing_labels_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.safetensors"
    embed_labels(loaded(), *names(4), CPU, path)
    with pytest.raises(WeightsError, match="other weights"):
        embed_labels(loaded(seed=1), *names(5), CPU, path)
    with pytest.raises(WeightsError, match="backbone_sha256"):
        stored_text(path, loaded(seed=1), names(2)[1], CPU)
    with pytest.raises(DataError, match="1 of 2 labels"):
        stored_text(path, loaded(), names(2, first=3)[1], CPU)


@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_files_that_are_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "labels.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError):
        read_label_embeddings(path)


def test_eval_and_predict_take_the_file_and_need_no_language_model(vclip: Callable) -> None:
    model = write_tiny_language_model(Path("lm").absolute())
    train = (
        "train", "-p", "multi-label", "-d", "toy-multi", "-m", "ov-multilabel", "--limit", 8,
        "--set", "epochs=1", "--set", f"language_model={model}", "--out", "run",
    )  # fmt: skip
    assert vclip(*train).code == 0
    checkpoint = ("--checkpoint", "run/checkpoint.safetensors")
    embed = vclip("labels", "embed", "toy-multi", *checkpoint, "--out", "l.safetensors", "--json")
    assert embed.code == 0, embed.err
    assert json.loads(embed.out)["encoded"] == 49
    run = ("eval", "-p", "multi-label", "-d", "toy-multi", *checkpoint, "--limit", 6)
    assert vclip(*run, "--out", "plain").code == 0
    model.rename("gone")
    assert vclip(*run, "--out", "no-model").code == 5
    stored = vclip(*run, "--label-embeddings", "l.safetensors", "--out", "stored")
    assert stored.code == 0, stored.err
    plain, other = (
        read_predictions(Path(out, "toy-multi_test_unseen/predictions.parquet"))
        for out in ("plain", "stored")
    )
    np.testing.assert_allclose(plain.scores, other.scores, atol=1e-5, rtol=0)
    row = open_dataset("toy-multi").manifest.rows.iloc[0]
    prepare_videos("toy-multi", [row["video"]])
    video = toy_folder("toy-multi") / row["path"]
    ran = vclip(
        "predict", video, *checkpoint, "--label-embeddings", "l.safetensors", "--json", "--top", 49
    )
    assert ran.code == 0, ran.err
    document = json.loads(ran.out)
    assert document["probabilities"]["source"] == "trained"
    assert len(document["predictions"][0]["labels"]) == 49
    foreign = ("predict", video, "--backbone", "toy", "--label-embeddings", "l.safetensors")
    assert vclip(*foreign).code == 5


@pytest.mark.parametrize(
    ("labels", "code", "said"),
    [
        ("cat,dog,cat", 2, "twice"),
        ("cat,,dog", 2, "a label is empty"),
        (" , ", 2, "no label"),
        (" ".join(f"word{n}" for n in range(100)) + ",cat", 0, ""),
        ("toy-multy.yaml", 2, ""),
    ],
)
def test_lists_of_labels_that_are_wrong(vclip: Callable, labels: str, code: int, said: str) -> None:
    ran = vclip("labels", "embed", labels, "--backbone", "toy", "--out", "l.safetensors")
    assert ran.code == code, ran.err
    assert said in ran.err
    assert Path("l.safetensors").exists() == (code == 0)
