"""Bad input: one clear message, its exit code, no traceback, nothing half-written."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import make_clips
import pytest
import torch
from PIL import Image

from vclip_cli.models.backbone import load_backbone

PREDICT = ("--labels", "circle,square", "--backbone", "toy", "--frames", 2)


def _clear(ran, code: int, *words: str) -> None:
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    assert ran.err.count("error:") == 1, ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("eval", "-d", "toy", "-m", "vita-clop"), 2, ("unknown method", "'vita-clip'")),
        (("eval", "-d", "toi"), 2, ("unknown dataset", "'toy'")),
        (("eval", "-d", "toy", "-p", "zero-shots"), 2, ("unknown protocol", "'zero-shot'")),
        (("eval", "-d", "toy", "--backbone", "ViT-B-61"), 2, ("unknown backbone", "'ViT-B-16'")),
        (("eval", "-d", "toy", "--backbone", "ViT-B-16", "--pretrained", "opnai"), 5, ("openai",)),
        (("eval", "-d", "toy", "--split", "tset"), 2, ("'test'",)),
        (("eval", "-d", "toy", "--crops", "2"), 2, ("1 or 3",)),
        (("eval", "-d", "toy", "--precision", "fp61"), 2, ("'fp16'",)),
        (("eval", "-d", "toy", "--device", "cuda:99"), 2, ("not available",)),
        (("eval", "-d", "toy", "--decoder", "decrod"), 2, ("'decord'",)),
        (("eval", "-d", "toy", "--template", "a photo"), 2, ("no place for the class",)),
        (("eval", "-d", "toy", "--text", "vify"), 2, ("text variant",)),
        (("eval", "-d", "toy", "--checkpoint", "no.safetensors"), 5, ("no such checkpoint",)),
        (("eval", "-d", "toy", "--batch-size", "0"), 2, ("batch-size",)),
        (("eval",), 2, ("no dataset",)),
        (("evla",), 2, ("eval",)),
        (("eval", "--frame", "8"), 2, ("--frames",)),
        (("labels", "show", "toyy"), 2, ("'toy'",)),
        (("predict", "no.mp4", "--labels", "a,b"), 4, ("no such video",)),
    ],
)
def test_unknown_names_and_values(
    vclip: Callable, arguments: tuple, code: int, words: tuple[str, ...]
) -> None:
    _clear(vclip(*arguments), code, *words)
    assert not Path("runs").exists()


def _weights(path: Path, **changes: torch.Tensor) -> Path:
    tensors = dict(load_backbone("toy", "random").clip.state_dict())
    torch.save({**tensors, **changes}, path)
    return path


def test_weights_of_another_shape(vclip: Callable) -> None:
    path = _weights(Path("w.pt"), logit_scale=torch.zeros(3))
    ran = vclip("eval", "-d", "toy", "--pretrained", path)
    _clear(ran, 5, "do not fit", "logit_scale: (3,) instead of ()")


def test_weights_of_another_architecture(vclip: Callable) -> None:
    ran = vclip(
        "eval", "-d", "toy", "--backbone", "ViT-B-32", "--pretrained", _weights(Path("w.pt"))
    )
    _clear(ran, 5, "do not fit", "--backbone")


def test_weights_with_unknown_tensors(vclip: Callable) -> None:
    path = _weights(Path("w.pt"), extra=torch.zeros(2))
    _clear(vclip("eval", "-d", "toy", "--pretrained", path), 5, "unknown", "extra")


@pytest.mark.parametrize("content", [b"", b"no weights", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_damaged_weights(vclip: Callable, name: str, content: bytes) -> None:
    Path(name).write_bytes(content)
    _clear(vclip("eval", "-d", "toy", "--pretrained", name), 5, name)


def test_truncated_weights(vclip: Callable) -> None:
    path = _weights(Path("w.pt"))
    path.write_bytes(path.read_bytes()[:-5000])
    _clear(vclip("eval", "-d", "toy", "--pretrained", path), 5, "cannot be read")


def test_missing_weights(vclip: Callable) -> None:
    ran = vclip("eval", "-d", "toy", "--pretrained", "missing.safetensors")
    _clear(ran, 5, "no such weights file")


def test_a_pickle_that_would_run_code_does_not(vclip: Callable) -> None:
    class Evil:
        def __reduce__(self):
            return (os.mkdir, ("it-ran",))

    torch.save({"state_dict": {"w": Evil()}}, "evil.pt")
    ran = vclip("eval", "-d", "toy", "--pretrained", "evil.pt")
    _clear(ran, 5, "more than tensors")
    assert not Path("it-ran").exists()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    make_clips.write_clip(path)
    path.write_bytes(path.read_bytes()[:400])


def _text(path: Path) -> None:
    path.write_text("this is no video")


def _still(path: Path) -> None:
    Image.new("RGB", (64, 64)).save(path, format="JPEG")


def _one_frame(path: Path) -> None:
    make_clips.write_clip(path, frames=1)


def _audio(path: Path) -> None:
    make_clips.write_audio(path)


@pytest.mark.parametrize("damage", [_empty, _truncated, _text, _still, _one_frame, _audio])
def test_videos_that_cannot_be_used(vclip: Callable, damage: Callable[[Path], None]) -> None:
    damage(Path("clip.mp4"))
    ran = vclip("predict", "clip.mp4", *PREDICT)
    assert ran.code == 4, ran.err
    assert ran.err.count("error:") == 1
    assert "clip.mp4" in ran.err
    assert "Traceback" not in ran.err


def test_a_still_is_taken_when_asked(vclip: Callable) -> None:
    _one_frame(Path("clip.mp4"))
    assert vclip("predict", "clip.mp4", *PREDICT, "--allow-single-frame").code == 0


@pytest.mark.parametrize(("width", "height"), [(98, 66), (130, 50), (50, 130)])
def test_odd_sizes_are_fine(vclip: Callable, width: int, height: int) -> None:
    make_clips.write_clip(Path("clip.avi"), size=(width, height), codec="mpeg4", frames=12)
    assert vclip("predict", "clip.avi", *PREDICT).code == 0


def test_a_bad_video_among_good_ones(vclip: Callable) -> None:
    for name in ("a.mp4", "c.mp4"):
        make_clips.write_clip(Path(name), frames=12)
    _text(Path("b.mp4"))
    ran = vclip("predict", "a.mp4", "b.mp4", "c.mp4", *PREDICT)
    assert ran.code == 4
    assert "a.mp4" in ran.out and "c.mp4" in ran.out
    assert "b.mp4" in ran.err


@pytest.mark.parametrize(
    ("labels", "words"),
    [("a,b,a", "appears twice"), (" , ", "no label"), ("none.txt", "cannot be read")],
)
def test_labels_that_make_no_sense(vclip: Callable, labels: str, words: str) -> None:
    make_clips.write_clip(Path("a.mp4"), frames=12)
    _clear(vclip("predict", "a.mp4", "--labels", labels), 2, words)


def test_a_label_set_with_doubles(vclip: Callable) -> None:
    folder = Path(".vclip/label_sets")
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(
        "name: mine\ntitle: mine\nversion: 1\n"
        "classes:\n  - {name: a}\n  - {name: b}\n  - {name: a}\n"
    )
    _clear(vclip("labels", "show", "mine"), 3, "mine.yaml:7", "'a' appears twice")


def test_a_config_file_sets_how_clips_are_read(vclip: Callable) -> None:
    Path(".vclip").mkdir()
    Path(".vclip/config.yaml").write_text("video-timeout: 20\nlimit-memory: 500\nworkers: 0\n")
    for verb in ("eval", "embed", "extract"):
        ran = vclip(verb, *(("-d", "toy") if verb == "eval" else ("toy",)), "--limit", 1)
        _clear(ran, 2, "--limit-memory", "--workers 0")
    assert vclip("labels", "list").code == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch_sizes: 3\n", ("config.yaml:1", "unknown key", "batch-size")),
        ("device: cpu\nworkers: many\n", ("config.yaml:2", "workers")),
        ("xyzxyz: 1\n", ("config.yaml:1", "'xyzxyz'", "protocol, dataset", "limit-memory")),
        ("device: cpu\nframes: 0\n", ("config.yaml:2", "frames", "expected: 1 to")),
        ("a: [\n", ("not valid YAML",)),
        ("- a\n", ("mapping",)),
    ],
)
def test_a_broken_config_file(vclip: Callable, text: str, words: tuple[str, ...]) -> None:
    Path(".vclip").mkdir()
    Path(".vclip/config.yaml").write_text(text)
    _clear(vclip("protocols"), 3, *words)


def test_a_protocol_with_an_unknown_key(vclip: Callable) -> None:
    shipped = vclip("protocols", "zero-shot", "--json")
    assert shipped.code == 0
    from vclip_cli.common.resources import find_yaml

    folder = Path("own/protocols")
    folder.mkdir(parents=True)
    text = find_yaml("protocols", "zero-shot").read_text()
    (folder / "mine.yaml").write_text(text.replace("name: zero-shot", "name: mine") + "framez: 8\n")
    os.environ["VCLIP_PATH"] = str(Path("own").resolve())
    try:
        ran = vclip("eval", "-p", "mine", "-d", "toy")
    finally:
        del os.environ["VCLIP_PATH"]
    _clear(ran, 3, "mine.yaml:", "unknown key 'framez'", "'frames'")


@pytest.mark.parametrize("out", ["file/below", "/proc/vclip"])
def test_an_output_folder_that_cannot_be_written(vclip: Callable, out: str) -> None:
    Path("file").write_text("in the way")
    _clear(vclip("eval", "-d", "toy", "--limit", 2, "--out", out), 2, "cannot be written", "--out")


def test_a_full_disk() -> None:
    """A limit on the size of files stands for the disk: the write fails with an error like it."""

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    command = [
        sys.executable,
        "-m",
        "vclip_cli",
        "split",
        "toy",
        "-p",
        "base-to-novel",
        "-o",
        "out",
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, preexec_fn=small_files
    )
    assert done.returncode == 4, done.stderr
    assert "no space left" in done.stderr
    assert "Traceback" not in done.stderr
    assert not [path for path in Path("out").rglob("*") if path.name.endswith(".part")]
    assert all(path.stat().st_size < 2000 for path in Path("out").rglob("*") if path.is_file())


def test_a_dataset_whose_videos_are_gone(vclip: Callable, tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_clips.write_clip(_made(tmp_path / "mine" / name) / "clip.mp4", frames=12)
    assert vclip("data", "add", "mine", "--videos", tmp_path / "mine").code == 0
    shutil.rmtree(tmp_path / "mine")
    _clear(vclip("eval", "-d", "mine", "--backbone", "toy"), 4, "are gone")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_our_own_fault_says_so(vclip: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vclip_cli.engine.runs.diagnosis.diagnose", lambda: 1 / 0)
    ran = vclip("doctor")
    assert ran.code == 1
    assert "fault of vclip's own" in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in vclip("doctor", "-v").err


def test_a_torchscript_program_is_no_weights_file(vclip: Callable) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save("program.pt")
    ran = vclip("eval", "-d", "toy", "--pretrained", "program.pt")
    _clear(ran, 5, "TorchScript", "--pretrained openai")


def test_openai_files_bring_their_activation(tmp_path: Path) -> None:
    """OpenAI's files carry three numbers beside the weights, and were trained with QuickGELU."""
    own = load_backbone("ViT-B-32", "random")
    assert not own.quick_gelu
    numbers = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
    extra = {name: torch.tensor(value) for name, value in numbers.items()}
    torch.save({**own.clip.state_dict(), **extra}, tmp_path / "openai.pt")
    assert load_backbone("ViT-B-32", str(tmp_path / "openai.pt")).quick_gelu
