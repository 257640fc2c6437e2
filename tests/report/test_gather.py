"""What a report takes from videos and weights: the model's own attention, frames, and refusals."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_clip import BUILDS, FRAMES, random_video, tiny_backbone

from vclip_cli.common.errors import UsageError
from vclip_cli.common.resources import cache_folder
from vclip_cli.engine.encoding.encoder import Encoder
from vclip_cli.engine.loading.datasets import toy_folder
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.report.attention import attention_of_first, watch_attention
from vclip_cli.report.build import build_report
from vclip_cli.report.material import SMALL, Missing, VideoAttention, make_strip
from vclip_cli.results.record import read_record

PATCHES = 2  # a side: 32 pixels, patches of 16


def _attention(adapter: ClipAdapter, video: torch.Tensor) -> tuple[VideoAttention, torch.Tensor]:
    with torch.inference_mode(), watch_attention(adapter) as watched:
        encoded = adapter.encode_video(video)
    seen = attention_of_first(adapter, watched, FRAMES)
    assert isinstance(seen, VideoAttention)
    return seen, encoded


@pytest.mark.parametrize("name", [name for name in BUILDS if "specific" not in name])
def test_the_attention_is_that_of_the_last_block(name: str) -> None:
    """Against weights computed by hand from what goes into the last block's attention."""
    torch.manual_seed(0)
    adapter = BUILDS[name](tiny_backbone()).eval()
    video = random_video(frames=FRAMES)
    block = adapter.clip.visual.transformer.resblocks[-1].attn
    went_in: list[torch.Tensor] = []
    handle = block.register_forward_hook(lambda _, inputs, output: went_in.append(inputs[0]))
    with torch.inference_mode():
        plain = adapter.encode_video(video)
    handle.remove()
    tokens = went_in[0][:FRAMES].clone()
    query, key, _ = torch.nn.functional.linear(
        tokens, block.in_proj_weight, block.in_proj_bias
    ).chunk(3, dim=-1)
    heads = block.num_heads
    query, key = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (query, key))
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(-1).mean(1)[:, 0]
    before = (
        adapter.config.global_prompts + FRAMES * adapter.config.local_prompts + 1
        if (name.startswith("vita"))
        else 1
    )
    expected = weights[:, before : before + PATCHES**2].unflatten(1, (PATCHES, PATCHES))

    seen, watched = _attention(adapter, video)
    np.testing.assert_allclose(seen.patches, expected.detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(seen.cls, weights[:, 0].detach().numpy(), atol=1e-6)
    total = seen.cls + seen.own + seen.patches.sum(axis=(1, 2))
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert (seen.own > 0.01).any() == (
        name not in ("vifi-clip", "vifi-clip image", "vifi-clip text", "vita-clip bare")
    )
    torch.testing.assert_close(watched, plain, atol=1e-5, rtol=1e-4)
    with torch.inference_mode():  # and nothing stays behind
        torch.testing.assert_close(adapter.encode_video(video), plain, atol=1e-5, rtol=1e-4)
    assert not any(part._forward_hooks for part in adapter.modules())


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("x-clip", ["messages.2.attention", "integration.1.attn"]),
        ("vita-clip", ["prompts.2.summary_attention"]),
        ("vifi-clip", []),
        ("vl-prompt", []),
    ],
)
def test_attention_between_frames_is_that_of_the_last_of_its_kind(
    name: str, modules: list[str]
) -> None:
    torch.manual_seed(0)
    adapter = BUILDS[name](tiny_backbone()).eval()
    seen, _ = _attention(adapter, random_video(frames=FRAMES))
    assert [part.module for part in seen.temporal] == modules
    for part in seen.temporal:
        assert part.weights.shape == (FRAMES, FRAMES)
        np.testing.assert_allclose(part.weights.sum(axis=1), 1, atol=1e-5)


def test_other_towers_say_that_there_is_nothing_to_show() -> None:
    adapter = ClipAdapter(tiny_backbone(pool_type="avg")).eval()
    with torch.inference_mode(), watch_attention(adapter) as watched:
        adapter.encode_video(random_video(frames=FRAMES))
    seen = attention_of_first(adapter, watched, FRAMES)
    assert isinstance(seen, Missing)
    assert "does not pool its CLS token" in seen.why


@pytest.mark.parametrize("name", ["vifi-clip", "vl-prompt", "vita-clip", "x-clip"])
def test_every_method_has_one_vector_a_video(name: str) -> None:
    adapter = BUILDS[name](tiny_backbone()).eval()
    with torch.inference_mode():
        encoded = adapter.encode_video(random_video(frames=FRAMES))
        assert adapter.embedding(encoded).shape == (2, 64)
    with pytest.raises(UsageError, match="no single vector"):
        ClipAdapter(tiny_backbone()).embedding((encoded,))


def test_a_strip_keeps_to_its_size_and_order() -> None:
    frames = np.zeros((8, 64, 64, 3), np.uint8)
    frames += np.arange(0, 240, 30, dtype=np.uint8)[:, None, None, None]
    strip = make_strip(frames, 4, SMALL, 2_000)
    assert strip.indices == (1, 3, 5, 7)
    assert len(strip.data) <= 2_000 and strip.data[8:12] == b"WEBP"
    import io

    from PIL import Image

    picture = np.asarray(Image.open(io.BytesIO(strip.data)).convert("L"))
    side = picture.shape[0]
    assert picture.shape == (side, 4 * side) and side <= 64
    levels = [picture[:, place * side : (place + 1) * side].mean() for place in range(4)]
    np.testing.assert_allclose(levels, [30, 90, 150, 210], atol=8)
    noise = np.random.default_rng(0).integers(0, 255, frames.shape).astype(np.uint8)
    assert len(make_strip(noise, 4, SMALL, 100).data) < len(make_strip(noise, 4, SMALL, 9_000).data)
    assert make_strip(frames[:2], 4, SMALL, 2_000).indices == (0, 1)


EVAL = ("eval", "--dataset", "toy", "--split", "zero-shot", "--limit", 10, "--out", "run")


def _document(path: str = "report.html") -> dict:
    page = Path(path).read_text(encoding="utf-8")
    return json.loads(re.search(r'id="document">(.*?)</script>', page, re.DOTALL)[1])


def test_a_run_becomes_a_page(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vclip(*EVAL).code == 0
    ran = vclip("report", "run", "--json")
    assert ran.code == 0, ran.err
    said = json.loads(ran.out)
    page = Path("report.html").read_bytes()
    assert said["report"] == "report.html" and said["bytes"] == len(page)
    assert said["left_out"] == []
    document = _document()
    (result,) = document["results"]
    assert len(document["clips"]) == len(document["strips"]) == 10
    assert all(strip["frames"] == [1, 3, 5, 7] for strip in document["strips"])
    assert len(result["map"]["x"]) == 10
    assert result["attention"]["clips"][0]["shape"] == [8, 4, 4]
    assert b"--limit" in page[: page.index(b"<table>")]  # partial, and said so first

    def never(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(Encoder, "vectors", never)  # what was read before is not read again
    ran = vclip("report", "run", "--out", "second.html")
    assert ran.code == 0, ran.err
    assert "second.html" in ran.out
    assert Path("second.html").read_bytes() == page


def test_a_report_is_one_function_call(vclip: Callable) -> None:
    assert vclip(*EVAL).code == 0
    assert vclip("report", "run", "--no-embedding", "--title", "T").code == 0
    made = build_report(["run"], "same.html", title="T", embedding=False)
    assert made.path == Path("same.html") and made.left_out == ()
    assert [path.name for path in made.results] == ["record.json"]
    assert Path("same.html").read_bytes() == Path("report.html").read_bytes()
    assert made.bytes == Path("same.html").stat().st_size


def test_a_config_file_for_other_verbs_does_no_harm(vclip: Callable) -> None:
    assert vclip(*EVAL).code == 0
    Path(".vclip").mkdir()
    Path(".vclip/config.yaml").write_text("frames: 4\nclips: 3\ncheckpoint: x.safetensors\n")
    ran = vclip("report", "run", "--no-embedding")
    assert ran.code == 0, ran.err
    assert len(_document()["strips"][0]["frames"]) == 4


def test_damaged_parts_are_made_again(vclip: Callable) -> None:
    assert vclip(*EVAL).code == 0
    assert vclip("report", "run").code == 0
    first = Path("report.html").read_bytes()
    parts = list((cache_folder() / "report").rglob("*.safetensors"))
    assert parts
    for part in parts:
        part.write_bytes(part.read_bytes()[:50])
    assert vclip("report", "run").code == 0
    assert Path("report.html").read_bytes() == first


def test_results_of_other_frames_bring_their_own(vclip: Callable) -> None:
    assert vclip(*EVAL).code == 0
    assert vclip(*EVAL[:-1], "four", "--frames", 4).code == 0
    assert vclip("report", "run", "four").code == 0
    document = _document()
    four, eight = document["results"]  # sorted by path
    for result, frames in ((four, 4), (eight, 8)):
        for entry in result["attention"]["clips"]:
            assert entry["shape"][0] == frames
            strip = entry["strip"] or document["focus"][str(entry["clip"])]
            assert strip["frames"] == list(range(frames))
    assert len(document["clips"]) == 10


def test_parts_can_be_left_out(vclip: Callable) -> None:
    assert vclip(*EVAL).code == 0
    assert vclip("report", "run", "--no-frames", "--no-embedding", "--title", "A <b>").code == 0
    document = _document()
    assert document["noFrames"] == "Frames were left out: --no-frames."
    assert document["strips"] == [None] * 10
    assert document["results"][0]["map"] == {"why": "Left out: --no-embedding."}
    assert "<h1><bdi>A &lt;b&gt;</bdi></h1>" in Path("report.html").read_text()
    assert vclip("report", "run", "--thumbnails", 2).code == 0
    assert len(_document()["clips"]) == 10  # the hardest and easiest are never left out


def test_without_videos_the_record_and_predictions_still_make_a_page(vclip: Callable) -> None:
    shutil.copytree(_own_dataset(vclip), "moved")
    assert vclip("eval", "--dataset", "mine", "--backbone", "toy", "--out", "run").code == 0
    shutil.rmtree("videos")
    ran = vclip("report", "run")
    assert ran.code == 0, ran.err
    (result,) = _document()["results"]
    assert "are gone" in result["map"]["why"] and result["map"] == result["attention"]
    assert len(result["confusion"]["pairs"]) > 0
    assert "are gone" in ran.err


def _own_dataset(vclip: Callable) -> Path:
    from vclip_cli.engine.loading.datasets import open_dataset, prepare_videos

    rows = open_dataset("toy").manifest.rows.groupby("class").head(2).head(8)
    prepare_videos("toy", rows["video"].tolist())
    for path, name in zip(rows["path"], rows["class"], strict=True):
        target = Path("videos") / name / Path(path).name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(toy_folder() / path, target)
    assert vclip("data", "add", "mine", "--videos", "videos").code == 0
    return Path("videos")


def test_a_video_that_broke_since_is_named(vclip: Callable) -> None:
    videos = _own_dataset(vclip)
    assert vclip("eval", "--dataset", "mine", "--backbone", "toy", "--out", "run").code == 0
    broken = sorted(videos.rglob("*.*"))[0]
    broken.write_bytes(b"no video")
    assert vclip("report", "run").code == 0
    (result,) = _document()["results"]
    assert len(result["map"]["x"]) == 7
    assert any("1 of 8 videos of this page cannot be read" in text for text in result["warnings"])


def test_weights_that_do_not_give_the_recorded_scores_are_not_shown(vclip: Callable) -> None:
    """An untrained x-clip draws its new parts anew each time: its record cannot be looked into."""
    assert vclip(*EVAL, "--method", "x-clip").code == 0
    assert vclip("report", "run").code == 0
    document = _document()
    (result,) = document["results"]
    assert "does not give the recorded scores" in result["map"]["why"]
    assert result["attention"] == result["map"]
    assert document["strips"][0] is not None  # the frames are the same
    assert vclip("report", "run", "--no-frames").code == 0
    assert "does not give the recorded scores" in _document()["results"][0]["map"]["why"]


def test_a_method_without_a_vector_still_shows_frames(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vclip(*EVAL).code == 0

    def refuse(*_: object) -> None:
        raise UsageError("clip has no single vector for a video to put on a map")

    monkeypatch.setattr(ClipAdapter, "embedding", refuse)
    assert vclip("report", "run", "--batch-size", 3).code == 0  # another part of the cache
    document = _document()
    assert "no single vector" in document["results"][0]["map"]["why"]
    assert all(document["strips"])


def test_a_checkpoint_is_found_by_its_content(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vclip_cli.engine.encoding.model import load_method
    from vclip_cli.engine.specs import ModelSpec
    from vclip_cli.models.checkpoint import save_checkpoint

    method = load_method(ModelSpec("vita-clip", backbone="toy"))
    sha256 = method.backbone["weights_sha256"]
    save_checkpoint(Path("one.safetensors"), method.adapter, base_sha256=sha256)
    evaluate = [*map(str, EVAL), "--checkpoint", "one.safetensors"]
    monkeypatch.setattr("sys.argv", ["vclip", *evaluate])  # what the record keeps
    assert vclip(*evaluate).code == 0
    assert vclip("report", "run").code == 0
    assert "x" in _document()["results"][0]["map"]
    Path("one.safetensors").rename("two.safetensors")  # near the record, so it is found
    assert vclip("report", "run").code == 0
    assert "x" in _document()["results"][0]["map"]
    far = Path("some/other/place/two.safetensors")
    far.parent.mkdir(parents=True)
    Path("two.safetensors").rename(far)
    assert vclip("report", "run").code == 0
    assert "--checkpoint" in _document()["results"][0]["map"]["why"]
    assert vclip("report", "run", "--checkpoint", far).code == 0
    assert "x" in _document()["results"][0]["map"]


def test_changed_predictions_are_refused(vclip: Callable) -> None:
    assert vclip(*EVAL).code == 0
    record = next(Path("run").rglob("record.json"))
    predictions = record.parent / read_record(record).predictions.file  # type: ignore[union-attr]
    content = predictions.read_bytes()
    predictions.write_bytes(content[:-1] + b"\0")
    ran = vclip("report", "run")
    assert ran.code == 4 and "not those that the record was made from" in ran.err
    assert not Path("report.html").exists()
    predictions.unlink()
    assert vclip("report", "run").code == 0
    assert "not beside the record" in _document()["results"][0]["confusion"]["why"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["absent"], 4, "no such file or folder"),
        (["."], 4, "no record.json was found"),
        ([".", "--out", "folder"], 2, "the report goes to a file"),
        ([".", "--checkpoint", "absent.safetensors"], 5, "no such checkpoint"),
        ([".", "--thumbnails", "0"], 2, "--thumbnails"),
    ],
)
def test_bad_input(vclip: Callable, arguments: list[str], code: int, message: str) -> None:
    Path("folder").mkdir()
    ran = vclip("report", *arguments)
    assert ran.code == code and message in ran.err and not ran.out
