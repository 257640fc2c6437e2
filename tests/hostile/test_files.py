"""Hostile files through the doors that people use: a clear error each, and no other effect."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hostile_files import (
    BROKEN_DESCRIPTIONS,
    CANARY,
    CLIMBERS,
    PICKLES,
    SAFETENSORS,
    YAMLS,
    Evil,
    edited_checkpoint,
    toy_checkpoint,
)
from make_clips import write_clip
from make_datasets import write_videos

from vclip_cli.common.errors import DataError, WeightsError
from vclip_cli.data.split import read_split
from vclip_cli.engine.training.outcome import STATE_FILE, read_state

SECONDS = 10
MEBIBYTES = 600


@pytest.fixture(autouse=True)
def no_effect(tmp_path: Path, own_home: Path) -> Iterator[None]:
    """No code ran, nothing outside was written, and it took neither long nor much memory."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    started, before = time.process_time(), _peak()
    yield
    assert time.process_time() - started < SECONDS
    assert _peak() - before < MEBIBYTES * 1024
    assert not list(tmp_path.rglob(f"*{CANARY}*")), "the file's code ran"
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    known = {"work", "outside", "config"}
    assert {path.name for path in tmp_path.iterdir()} <= known


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _clear(ran, code: int, *words: str) -> None:
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err and "fault of vclip" not in ran.err
    assert ran.err.count("error:") == 1, ran.err
    assert ran.out == ""
    for word in words:
        assert word in ran.err


EVAL = ("eval", "-d", "toy", "-p", "zero-shot", "--limit", 1)
TRAIN = ("train", "-d", "toy", "-p", "few-shot", "-m", "vl-prompt", "--shots", 1, "--seed", 1)
PREDICT = ("predict", ".", "-l", "a,b", "--backbone", "toy")  # the weights come first
DOORS = {
    "convert": ("convert", "FILE", "--backbone", "toy", "-o", "out.safetensors"),
    "checkpoint": (*PREDICT[:-2], "--checkpoint", "FILE"),
    "pretrained": (*PREDICT, "--pretrained", "FILE"),
    "start-from": (*TRAIN, "--start-from", "FILE"),
}


def _through(door: str, file: str) -> list[object]:
    return [file if word == "FILE" else word for word in DOORS[door]]


@pytest.mark.parametrize(
    ("door", "kind", "name"),
    [
        *((door, kind, "evil.pth") for door in ("convert", "pretrained") for kind in PICKLES),
        *((door, kind, "evil.safetensors") for door in DOORS for kind in ("plain", "zip")),
        ("checkpoint", "nested", "evil.pth"),
        ("start-from", "nested", "evil.pth"),
    ],
)
def test_pickles_that_would_run_code(vclip: Callable, door: str, name: str, kind: str) -> None:
    PICKLES[kind](Path(name), Evil(Path(CANARY).resolve()))
    _clear(vclip(*_through(door, name)), 5, name)


@pytest.mark.parametrize("kind", PICKLES)
def test_a_resume_state_that_would_run_code(kind: str) -> None:
    PICKLES[kind](Path(STATE_FILE), Evil(Path(CANARY).resolve()))
    with pytest.raises(WeightsError, match="would execute"):
        read_state(Path(), "0" * 64)


@pytest.mark.parametrize("content", [[], {}, {"step": 1}, {"step": "x"}, torch.zeros(3)])
def test_a_resume_state_of_other_things(content: object) -> None:
    torch.save(content, STATE_FILE)
    with pytest.raises(WeightsError, match="not a resume state"):
        read_state(Path(), "0" * 64)


@pytest.mark.parametrize("case", SAFETENSORS)
@pytest.mark.parametrize("door", ["checkpoint", "pretrained", "convert"])
def test_safetensors_with_impossible_headers(vclip: Callable, door: str, case: str) -> None:
    Path("w.safetensors").write_bytes(SAFETENSORS[case])
    _clear(vclip(*_through(door, "w.safetensors")), 5, "w.safetensors")


def _packed_archive(path: Path) -> None:
    torch.save({"weight": torch.zeros(4)}, "sound.pt")
    with zipfile.ZipFile("sound.pt") as sound, zipfile.ZipFile(path, "w", 8) as bomb:
        for name in sound.namelist():
            bomb.writestr(name, sound.read(name))
        bomb.writestr("archive/data/9", b"\0" * 60_000_000)


def _stretched(path: Path) -> None:
    torch.save({"visual.weight": torch.zeros(1).expand(10**6, 10**6)}, path)


def _without_data(path: Path) -> None:
    torch.save({"visual.weight": torch.zeros(10**6, 10**6, device="meta")}, path)


def _sparse(path: Path) -> None:
    torch.save({"visual.weight": torch.sparse_coo_tensor([[0]], [1.0], (10**12,))}, path)


@pytest.mark.parametrize("make", [_packed_archive, _stretched, _without_data, _sparse])
@pytest.mark.parametrize("door", ["pretrained", "convert"])
def test_weights_that_unfold(vclip: Callable, door: str, make: Callable[[Path], None]) -> None:
    make(Path("w.pt"))
    _clear(vclip(*_through(door, "w.pt")), 5, "w.pt")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of a sound checkpoint of a method, made once, under the name `c.safetensors`."""
    folder = tmp_path_factory.mktemp("sound")
    made = {
        method: toy_checkpoint(folder / f"{method}.safetensors", method)
        for method in ("vita-clip", "vl-prompt")
    }
    return lambda method: Path(shutil.copy(made[method], "c.safetensors"))


@pytest.mark.parametrize("case", BROKEN_DESCRIPTIONS)
def test_checkpoints_whose_description_makes_no_sense(
    vclip: Callable, sound: Callable[[str], Path], case: str
) -> None:
    edited_checkpoint(sound("vita-clip"), BROKEN_DESCRIPTIONS[case])
    _clear(vclip(*_through("checkpoint", "c.safetensors")), 5, "c.safetensors", "header")


@pytest.mark.parametrize(("key", "value"), [("frames", 10**9), ("clips", 10**9), ("stride", 10**9)])
def test_a_checkpoint_cannot_ask_for_a_billion_frames(
    vclip: Callable, sound: Callable[[str], Path], key: str, value: int
) -> None:
    path = sound("vl-prompt")
    rule = {"rule": "dense"} if key == "stride" else {}
    asked = {"evaluation": {key: value, **rule}}
    edited_checkpoint(path, lambda d: d.update(training=asked))
    _clear(vclip(*_through("checkpoint", path.name)), 2, "too many frames")


@pytest.mark.parametrize("name", ["hf-hub:evil/model", "local-dir:../outside"])
@pytest.mark.parametrize("door", ["checkpoint", "start-from"])
def test_a_checkpoint_cannot_send_for_a_model(
    vclip: Callable, sound: Callable[[str], Path], door: str, name: str
) -> None:
    path = sound("vl-prompt")
    edited_checkpoint(path, lambda d: d["backbone"].update(name=name, pretrained=None))
    _clear(vclip(*_through(door, path.name)), 5, f"--backbone {name}")


@pytest.mark.parametrize("method", ["evil", "../evil", "/tmp/evil", "evil.py", "os"])
def test_a_checkpoint_cannot_name_code(
    vclip: Callable, sound: Callable[[str], Path], method: str
) -> None:
    """Methods come from VCLIP_PATH, the project and the user's folder, never from beside a file."""
    for folder in (Path(), Path("adapters"), Path("own/adapters")):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "evil.py").write_text(f"import os; os.mkdir({str(Path(CANARY).resolve())!r})")
    path = sound("vl-prompt")
    edited_checkpoint(path, lambda d: d.update(method=method))
    _clear(vclip(*_through("checkpoint", path.name)), 2, "unknown method")


ARCHITECTURE = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        ("vision_cfg.layers", 10**9, "layers"),
        ("vision_cfg.width", 10**6, "absurdly large"),
        ("vision_cfg.image_size", 10**6, "absurdly large"),
        ("vision_cfg.patch_size", 0, "number"),
        ("vision_cfg.layers", "many", "number"),
        ("vision_cfg.surprise", 1, "cannot build"),
        ("text_cfg.vocab_size", 10**12, "vocab_size"),
        ("text_cfg.context_length", 10**6, "absurdly large"),
        ("text_cfg.tokenizer_kwargs", {"trust_remote_code": True}, "run code"),
        ("text_cfg.hf_model_name", "hf-hub:evil/model", "another model"),
        ("embed_dim", 10**18, "embed_dim"),
        ("vision_cfg", [], "no open_clip config"),
    ],
)
def test_backbones_of_absurd_sizes(vclip: Callable, place: str, value: object, words: str) -> None:
    config = json.loads(json.dumps(ARCHITECTURE))
    *outer, key = place.split(".")
    (config[outer[0]] if outer else config)[key] = value
    Path(".vclip/backbones").mkdir(parents=True)
    Path(".vclip/backbones/mine.json").write_text(json.dumps(config))
    ran = vclip(*PREDICT[:-1], "mine", "--pretrained", "random")
    _clear(ran, 5, "mine.json", words)
    Path("folder").mkdir()
    Path("folder/open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    _clear(vclip(*PREDICT[:-1], "local-dir:folder"), 5)


def test_fetched_weights_that_are_not_what_the_hub_lists(
    vclip: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache as the hub's client makes it, whose file is not what its name says."""
    from huggingface_hub import constants

    cache = Path("hub").resolve()
    repository = cache / "models--timm--vit_base_patch16_clip_224.openai"
    snapshot = repository / "snapshots" / ("a" * 40)
    for folder in (snapshot, repository / "blobs", repository / "refs"):
        folder.mkdir(parents=True)
    (repository / "refs/main").write_text("a" * 40)
    blob = repository / "blobs" / ("b" * 64)
    blob.write_bytes(SAFETENSORS["no header"])
    (snapshot / "open_clip_model.safetensors").symlink_to(blob)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    ran = vclip(*PREDICT[:-1], "ViT-B-16", "--pretrained", "openai")
    _clear(ran, 5, "not those that the hub lists", "bbbbbbbbbbbb")


YAML_DOORS = {
    "label set": (".vclip/label_sets/mine.yaml", ("labels", "show", "mine")),
    "protocol": (".vclip/protocols/mine.yaml", ("protocols", "mine")),
    "config": (".vclip/config.yaml", ("methods",)),
    "dataset": (".vclip/datasets/mine.yaml", ("data", "check", "mine")),
    "file by path": ("mine.yaml", ("labels", "show", "mine.yaml")),
}


@pytest.mark.parametrize("case", YAMLS)
def test_hostile_yaml(vclip: Callable, case: str) -> None:
    text, words = YAMLS[case]
    doors = list(YAML_DOORS.values())
    for place, command in doors[:1] if len(text) > 200_000 else doors:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(text, encoding="utf-8", errors="surrogatepass")
        _clear(vclip(*command), 3, Path(place).name, words)
        Path(place).unlink()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("batch-size: 0", "1 to"),
        ("frames: -8", "1 to"),
        ("frames: 99999999999999999999", "1 to"),
        ("crops: 2", "1 or 3"),
        ("seed: -1", "0 to"),
        ("workers: -1", "0 to"),
        ('device: ""', "one line"),
        ('method: "a\\nb"', "one line"),
        ("resume: 1", "true or false"),
        ("frames: true", "a whole number"),
    ],
)
def test_config_values_out_of_range_are_named_by_file_and_line(
    vclip: Callable, line: str, words: str
) -> None:
    Path(".vclip").mkdir()
    Path(".vclip/config.yaml").write_text(f"backbone: toy\n{line}\n")
    _clear(vclip("methods"), 3, "config.yaml:2", line.split(":")[0], words)


def _dataset_of(folder: Path) -> Path:
    return write_videos(folder, ["a/one.mp4", "b/two.mp4"])


@pytest.mark.parametrize("case", CLIMBERS)
def test_lists_that_climb_out(vclip: Callable, case: str) -> None:
    """In every form of a list, and in an imported split."""
    root, path = _dataset_of(Path("videos")), CLIMBERS[case]
    forms = (f"{path} a\n", f'"{path}",a\n', f"path,class\n{path},a\n", f"{path}\n")
    for form in forms:
        Path("list.txt").write_text(form)
        ran = vclip("data", "add", "mine", "--videos", root, "--annotations", "list.txt")
        _clear(ran, 4, "list.txt:")
    assert vclip("data", "add", "mine", "--videos", root).code == 0
    Path("list.txt").write_text(forms[0])
    ran = vclip("split", "mine", "-p", "few-shot", "--from-list", "list.txt")
    _clear(ran, 4, "list.txt:1")


@pytest.mark.parametrize("record", [{"id": "../../etc/x"}, {"id": "a\0b"}, {"id": "/etc/x"}])
def test_official_lists_that_climb_out(vclip: Callable, record: dict[str, str]) -> None:
    Path("lists").mkdir()
    template = {"template": "Moving [something] up", "placeholders": ["a"]}
    path = Path("lists/something-something-v2-train.json")
    path.write_text(json.dumps([{**record, **template}]))
    ran = vclip("data", "add", "ssv2", "--annotations", "lists", "--no-videos")
    _clear(ran, 4, "does not stay inside")


@pytest.mark.parametrize("path", ["../outside/secret.txt", "/etc/passwd", "a\0b", "C:/x"])
def test_manifests_that_climb_out(vclip: Callable, path: str) -> None:
    """With matching hashes, as only somebody who meant it could make them."""
    from vclip_cli.data.manifest import read_manifest, write_manifest

    assert vclip("data", "add", "mine", "--videos", _dataset_of(Path("videos"))).code == 0
    file = Path(".vclip/datasets/mine.manifest.parquet")
    manifest = read_manifest(file)
    manifest.rows["path"] = path
    write_manifest(manifest, file)
    with pytest.raises(DataError, match="not what its"):
        read_manifest(file)
    assert vclip("data", "list").code == 0  # it is a cache, and built again
    assert set(read_manifest(file).rows["path"]) == {"a/one.mp4", "b/two.mp4"}


@pytest.mark.parametrize("name", ["../../etc", "a\\b", ".."])
def test_names_that_climb(vclip: Callable, name: str) -> None:
    _dataset_of(Path("videos"))
    for command in (
        ("eval", "-d", name, "--backbone", "toy"),
        (*EVAL, "--method", name),
        (*EVAL, "-p", name),
        (*EVAL, "--split", name),
        ("split", name, "-p", "few-shot"),
        ("split", "toy", "-p", name),
        ("labels", "show", name),
        ("protocols", name),
        ("data", "check", name),
        ("data", "add", name, "--videos", "videos"),
    ):
        _clear(vclip(*command), 2)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "command",
    [
        ("labels", "show", "NAME.yaml"),
        ("predict", "NAME.mp4", "-l", "a"),
        ("data", "add", "mine", "--videos", "NAME"),
        (*PREDICT, "--pretrained", "NAME"),
        (*PREDICT, "--checkpoint", "NAME"),
        ("table", "NAME"),
        ("split", "--show", "NAME.csv"),
    ],
)
def test_names_too_long_for_any_file(vclip: Callable, command: tuple[object, ...]) -> None:
    long = [str(word).replace("NAME", "n" * 5000) for word in command]
    ran = vclip(*long)
    assert ran.code in (2, 4, 5)
    _clear(ran, ran.code)
    assert len(ran.err) < 3000


@pytest.mark.parametrize("name", ["../../outside/x", "..", "/tmp/x", "a\\b", "", ".hidden", "a\tb"])
def test_specs_whose_own_name_climbs(vclip: Callable, name: str) -> None:
    """A protocol's name is a folder's: splits/toy/NAME."""
    from vclip_cli.common.resources import find_yaml

    for kind, shipped, command in (
        ("protocols", "few-shot", ("split", "toy", "-p", "p.yaml", "--shots", 1, "--seed", 1)),
        ("label_sets", "toy", ("labels", "show", "p.yaml")),
    ):
        text = find_yaml(kind, shipped).read_text().replace(f"name: {shipped}", "", 1)
        Path("p.yaml").write_text(f"name: {json.dumps(name)}\n{text}")
        _clear(vclip(*command), 3, "p.yaml:1", "a name")
    assert not Path("splits").exists()


def test_a_list_whose_splits_climb(vclip: Callable) -> None:
    Path("list.csv").write_text("path,class,split\na/one.mp4,a,../../outside\n")
    root = _dataset_of(Path("videos"))
    ran = vclip("data", "add", "mine", "--videos", root, "--annotations", "list.csv")
    _clear(ran, 4, "list.csv:2", "a name")


def _zip_slip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"../outside/{CANARY}.txt", "written")
        archive.writestr("train.csv", "label,youtube_id,time_start,time_end,split\n")


def _tar_slip(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        entry = tarfile.TarInfo(f"../outside/{CANARY}.txt")
        entry.size = 7
        archive.addfile(entry, io.BytesIO(b"written"))


def _zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", b"0" * 60_000_000)


@pytest.mark.parametrize("make", [_zip_slip, _tar_slip, _zip_bomb])
@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "train.csv"])
def test_archives_are_never_unpacked(
    vclip: Callable, make: Callable[[Path], None], name: str
) -> None:
    """Nothing here reads archives: one in the place of lists, weights or videos is refused."""
    make(Path(name))
    _clear(vclip("data", "add", "kinetics400", "--annotations", name, "--no-videos"), 4, name)
    Path("clip.mp4").write_bytes(Path(name).read_bytes())
    _clear(vclip("predict", "clip.mp4", "-l", "a,b", "--backbone", "toy"), 4, "clip.mp4")
    _clear(vclip(*_through("convert", name)), 5, name)


def test_links_of_the_person_are_followed_and_loops_end(vclip: Callable, tmp_path: Path) -> None:
    """A farm of links is how clusters share videos: whoever owns the folder made them."""
    _dataset_of(Path("store"))
    Path("videos/a").mkdir(parents=True)
    Path("videos/a/far.mp4").symlink_to(Path("store/a/one.mp4").resolve())
    Path("videos/b").symlink_to(Path("store/b").resolve())
    Path("videos/c").symlink_to(Path("videos").resolve())
    Path("videos/a/dead.mp4").symlink_to("nowhere.mp4")
    os.mkfifo("videos/a/pipe.mp4")
    ran = vclip("data", "add", "mine", "--videos", "videos", "--json")
    assert ran.code == 0, ran.err
    ran = vclip("data", "check", "mine", "--json")
    assert ran.code == 4
    found = json.loads(ran.out)
    assert found["videos"] == 4
    assert set(found["unreadable"]) >= {"a/dead.mp4"}


def test_file_names_that_no_list_can_hold_are_left_out(vclip: Callable) -> None:
    root = _dataset_of(Path("videos"))
    for name in (b"a\nb.mp4", b"\xff\xfe.mp4", b"c\rd.mp4"):
        Path(os.fsdecode(bytes(root / "a") + b"/" + name)).write_bytes(b"x")
    ran = vclip("data", "add", "mine", "--videos", root)
    assert ran.code == 0, ran.err
    assert "3 files or folders were left out" in ran.err
    assert "Traceback" not in ran.err


def _concat(path: Path) -> None:
    write_clip(path.with_name("other.mp4"), 4)
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")


def _playlist(path: Path) -> None:
    write_clip(path.with_name("other.ts"), 4)
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\nother.ts\n#EXT-X-ENDLIST\n")


def _huge_picture(path: Path) -> None:
    from PIL import Image

    Image.new("L", (9000, 9000)).save(path, "JPEG")


@pytest.mark.parametrize("make", [_concat, _playlist, _huge_picture])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.m3u8"])
def test_clips_that_are_lists_or_monsters(
    vclip: Callable, make: Callable[[Path], None], name: str
) -> None:
    make(Path(name))
    ran = vclip("predict", name, "-l", "a,b", "--backbone", "toy", "--allow-single-frame")
    _clear(ran, 4, name)


def test_a_record_of_a_split_with_nulls_is_not_believed(vclip: Callable) -> None:
    """A key set to null must not switch off the check that it stands for."""
    drawn = ("split", "toy", "-p", "few-shot", "--shots", 1, "--seed", 1)
    assert vclip(*drawn).code == 0
    path = Path("splits/toy/few-shot/train_1-shot_seed-1.csv")
    sidecar = path.with_suffix(".json")
    facts = json.loads(sidecar.read_text())
    stated = {key for key, value in facts.items() if value is not None}
    for key in stated - {"protocol"}:  # which is no part of the rule: the rows are drawn again
        sidecar.write_text(json.dumps({**facts, key: None}))
        with pytest.raises(DataError, match=key) as raised:
            read_split(path, altered=True)
        assert raised.value.where == str(sidecar)
    _clear(vclip("split", "--verify", path), 4, sidecar.name)
    for key in ("rows", "videos", "classes"):
        sidecar.write_text(json.dumps({**facts, key: 7}))
        ran = vclip("split", "--verify", path)
        assert ran.code == 6 and f"counts 7 {key}" in ran.out


def test_an_import_without_its_hashes_is_not_believed(vclip: Callable) -> None:
    assert vclip("data", "add", "mine", "--videos", _dataset_of(Path("videos"))).code == 0
    Path("list.txt").write_text("a/one.mp4 a\n")
    assert vclip("split", "mine", "--from-list", "list.txt").code == 0
    path = next(Path("splits").rglob("*.csv"))
    facts = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**facts, "imported": None}))
    ran = vclip("split", "--verify", path, "--from-list", "list.txt")
    _clear(ran, 4, "imported")
