"""The library as a notebook uses it: the public names, classifying, evaluating, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import vclip_cli as vclip
from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos

SHAPES = ["circle", "square", "triangle", "star"]


@pytest.fixture
def circles(vclip: Callable) -> list[str]:  # the fixture sets the folders
    """Three rendered videos of circles."""
    dataset = open_dataset("toy-shapes")
    rows = dataset.manifest.rows[dataset.manifest.rows["class"] == "circle"].head(3)
    prepare_videos("toy-shapes", list(rows["video"]))
    return [str(dataset.require_videos() / path) for path in rows["path"]]


def test_import_loads_nothing_heavy_and_every_public_name_is_there() -> None:
    code = (
        "import json, sys\n"
        "import vclip_cli as vclip\n"
        "heavy = [m for m in ('torch', 'open_clip', 'pandas', 'sklearn', 'pydantic', 'yaml')"
        " if m in sys.modules]\n"
        "missing = [name for name in vclip.__all__ if not hasattr(vclip, name)]\n"
        "print(json.dumps([heavy, missing, set(vclip.__all__) <= set(dir(vclip))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], [], True]


def test_classify_one_video_several_and_frames(circles: list[str]) -> None:
    model = vclip.load_model("clip", backbone="toy", workers=0)
    one = model.classify(circles[0], SHAPES)
    assert list(one.columns) == ["label", "probability"] and len(one) == len(SHAPES)
    assert one["label"][0] == "circle" and one["probability"].is_monotonic_decreasing
    assert one["probability"].sum() == pytest.approx(1, abs=1e-5)
    several = model.classify(circles, SHAPES, top=1)
    assert list(several["video"]) == circles and list(several.columns)[1:] == list(one.columns)
    whole = vclip.read_frames(circles[0], frames=8)
    assert whole.dtype == np.uint8 and whole.ndim == 4
    again = model.classify(whole, SHAPES)
    assert np.allclose(again["probability"], one["probability"], atol=1e-6)


def test_one_text_is_what_the_option_takes_and_one_video_is_a_video(
    circles: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    model = vclip.load_model("clip", backbone="toy", workers=0)
    assert list(model.classify(circles[0], "star,circle")["label"]) == ["circle", "star"]
    assert model.encode_text("star").shape == (1, 128)
    model.classify(circles[0], "toy-shape")  # meant as the label set
    assert "one label, 'toy-shape'" in caplog.text
    for call in (lambda: model.classify(circles[0], [1, 2]), lambda: model.encode_text([1, 2])):
        with pytest.raises(vclip.errors.UsageError, match="a label is not a text"):
            call()
    _, ranking = vclip.predict(circles[0], ["circle", "star"], backbone="toy", workers=0)
    assert [entry.video for entry in ranking.videos] == [circles[0]]


def test_encode_video_and_text_agree_with_classify(circles: list[str]) -> None:
    model = vclip.load_model("clip", backbone="toy", workers=0)
    video, text = model.encode_video(circles[0]), model.encode_text(SHAPES)
    assert video.shape == (1, 128) and text.shape == (len(SHAPES), 128)
    cosines = (video / video.norm() @ text.T).squeeze(0)
    best = model.classify(circles[0], SHAPES)["label"][0]
    assert SHAPES[int(cosines.argmax())] == best


def test_evaluate_gives_the_bytes_of_the_verb(vclip: Callable, tmp_path: Path) -> None:
    import vclip_cli

    ran = vclip(
        "eval", "-d", "toy-shapes", "--limit", 12, "--workers", 0, "--out", "verb", "--json"
    )
    assert ran.code == 0, ran.err
    model = vclip_cli.load_model("clip", backbone="toy", workers=0)
    [result] = vclip_cli.evaluate(model, "toy-shapes", limit=12, workers=0, out="notebook")
    verb = Path(json.loads(ran.out)["results"][0]["predictions"])
    assert verb.read_bytes() == result.path.with_name("predictions.parquet").read_bytes()
    assert result.metrics["top1"] == result.record.metrics["top1"].value
    assert len(result.predictions) == 12 and result.per_class["name"].iloc[0] == "circle"
    assert "top1" in repr(result)


def test_train_leaves_a_checkpoint_and_a_log(vclip: Callable) -> None:
    import vclip_cli

    run = vclip_cli.train(
        "linear-probe", "toy", protocol="few-shot", shots=1, seed=1, workers=0, out="probe"
    )
    assert run.checkpoint == Path("probe/checkpoint.safetensors") and run.checkpoint.is_file()
    assert list(run.log.columns) == ["step", "loss", "learning_rate"]
    again = vclip_cli.load_model(run.checkpoint, workers=0)
    assert again.adapter.name == "linear-probe"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"frame": 3}, "did you mean 'frames'"),
        ({"frames": 0}, "1 to"),
        ({"frames": "many"}, "a whole number"),
        ({"crops": 2}, "1 or 3"),
        ({"video_timeout": 0.01}, "0.1 to"),
        ({"precision": "fp64"}, "fp16"),
        ({"shard": "3/2"}, "i/n"),
    ],
)
def test_a_wrong_keyword_is_refused_as_a_wrong_option(settings: dict, words: str) -> None:
    with pytest.raises(vclip.errors.UsageError, match=words):
        vclip.evaluate("clip", "toy-shapes", **settings)


def test_a_method_or_dataset_that_is_not_there(vclip: Callable) -> None:
    import vclip_cli

    with pytest.raises(vclip_cli.errors.UsageError, match="vita-clip"):
        vclip_cli.load_model("vita-clp", backbone="toy")
    with pytest.raises(vclip_cli.errors.UsageError, match="toy"):
        vclip_cli.evaluate("clip", "tyo")
    with pytest.raises(vclip_cli.errors.UsageError, match="no dataset"):
        vclip_cli.evaluate("clip")
    with pytest.raises(vclip_cli.errors.UsageError, match="uint8"):
        vclip_cli.load_model(backbone="toy").classify(np.zeros((8, 4, 4, 3)), SHAPES)
    with pytest.raises(AttributeError):
        _ = vclip_cli.clasify  # type: ignore[attr-defined]  # the name is misspelt


def test_what_is_no_label_model_or_number_is_refused(vclip: Callable) -> None:
    import vclip_cli

    model = vclip_cli.load_model("clip", backbone="toy", workers=0)
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    usage = vclip_cli.errors.UsageError
    for labels in ([1, 2], [None], None, 5, []):
        with pytest.raises(usage):
            model.classify(frames, labels)
    assert list(model.classify(frames, "pour,push")["label"].sort_values()) == ["pour", "push"]
    for top in (0, -1, 1.5, "x"):
        with pytest.raises(usage, match="top"):
            model.classify(frames, SHAPES, top=top)
    with pytest.raises(usage, match="loaded already"):
        vclip_cli.evaluate(model, "toy-shapes", backbone="ViT-B-16")
    with pytest.raises(usage, match="two values for 'method'"):
        vclip_cli.evaluate("clip", "toy-shapes", method="x-clip")
    with pytest.raises(usage, match="not a model"):
        vclip_cli.evaluate(5, "toy-shapes")
    with pytest.raises(usage, match="rate"):
        vclip_cli.dry_run("eval", "toy-shapes", rate=-1)
    with pytest.raises(usage, match="no video"):
        model.encode_video([])
