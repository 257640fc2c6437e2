"""Files laid out as the authors released theirs, and files that only look so.

The tensors come from the golden cases: they have the released checkpoints' own names.
"""

from __future__ import annotations

import os
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_cases import SHIPPED, Case
from safetensors.torch import load_file, save_file
from torch import Tensor

from vclip_cli.common.errors import UsageError, WeightsError
from vclip_cli.common.preprocessing import CLIP_MEAN, IMAGENET_MEAN
from vclip_cli.models import load_adapter
from vclip_cli.models.adapters.layouts.convert import convert_checkpoint
from vclip_cli.models.backbone import load_backbone
from vclip_cli.models.checkpoint import read_info
from vclip_cli.models.tensors import read_tensor_file

PROMPTED, VITA, X_CLIP = "vificlip_vl_shallow_ctxinit2", "vita_csc_ctx", "xclip"
ZIP = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(SHIPPED, request.param, tmp_path, monkeypatch)


def on(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [name], indirect=True)


def convert(case: Case, content: Any, **arguments: Any):
    source, out = case.folder / "source.pth", case.folder / "ours.safetensors"
    if not source.exists():
        torch.save(content, source)
    arguments.setdefault("pretrained", case.base_weights())
    return convert_checkpoint(source, out, backbone_name=case.backbone_name, **arguments), out


def without_prompts(case: Case) -> dict[str, Tensor]:
    """A ViFi-CLIP of the first stage."""
    state = {k: v for k, v in case.state().items() if "VPT" not in k and "prompt_learner" not in k}
    return state | {"module.prompt_learner.complete_text_embeddings": torch.zeros(2, 77, 64)}


# What comes out -----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [PROMPTED, VITA, X_CLIP], indirect=True)
def test_the_prefix_is_optional(case: Case):
    bare = {name.removeprefix("module."): value for name, value in case.state().items()}
    converted = []
    for state in (bare, {f"module.{name}": value for name, value in bare.items()}):
        _, out = convert(case, {"model": state})
        converted.append(load_file(out))
        (case.folder / "source.pth").unlink()
    assert converted[0].keys() == converted[1].keys()
    assert all(torch.equal(converted[0][name], converted[1][name]) for name in converted[0])


@on(PROMPTED)
def test_every_entry_of_a_training_checkpoint_is_accounted_for(case: Case):
    content = {
        "model": case.state() | {"module.steps": 3},
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
        "lr_scheduler": {},
        "max_accuracy": 76.6,
        "epoch": 10,
        "config": {"TRAINER": {"ViFi_CLIP": {"CTX_INIT": "a clip of"}}},
    }
    report, out = convert(case, content)
    assert report.method == "vl-prompt"
    assert report.config["context_words"] == "a clip of"
    beside = {"optimizer", "lr_scheduler", "max_accuracy", "epoch", "config"}
    stale = {"prompt_learner.token_prefix", "prompt_learner.token_suffix"}
    assert beside | stale | {"module.steps"} <= set(report.dropped)
    assert all("class" in report.dropped[name] for name in stale & set(report.dropped))
    assert "image_encoder.VPT" in report.used
    assert set(report.missing) == {"clip.token_embedding.weight"}
    info = read_info(out)
    assert info.preprocessing["mean"] == list(IMAGENET_MEAN)
    assert info.preprocessing["resize_to"] == int(256 / 224 * 32)
    assert info.backbone["weights_sha256"]


@on(PROMPTED)
def test_vifi_clip_is_clip_with_other_weights(case: Case):
    content = {
        "model": without_prompts(case),
        "config": {"TRAINER": {"ViFi_CLIP": {"USE": "image"}}},
    }
    report, out = convert(case, content)
    assert report.method == "vifi-clip" and report.config == {"tune": "image"}
    adapter = load_adapter(out)
    base = load_backbone(case.backbone_name, case.base_weights())
    images = case.tensors["input/video"]
    with torch.no_grad():
        expected = base.clip.encode_image(images[:, 0])
        tuned = adapter.encode_frames(images[:, :1])[:, 0]
        assert not torch.allclose(tuned, expected)
        adapter.interpolate(0)
        untuned = adapter.encode_frames(images[:, :1])[:, 0]
        torch.testing.assert_close(untuned, expected, atol=1e-6, rtol=1e-6)


@on(PROMPTED)
def test_text_prompts_behind_fixed_words(case: Case):
    """The authors' switch for a learned context off, their depth of text prompts left on."""
    state = {k: v for k, v in case.state().items() if "prompt_learner" not in k}
    state["module.prompt_learner.complete_text_embeddings"] = torch.zeros(2, 77, 64)
    state["module.text_encoder.transformer.resblocks.1.VPT_shallow"] = torch.ones(6, 64)
    report, out = convert(case, {"model": state})
    assert report.config["text_first"] == 1 and report.config["text_tokens"] == 6
    assert report.config["text_depth"] == 2 and report.config["vision_depth"] == 1
    adapter = load_adapter(out)
    assert adapter.text_prompts.unique().tolist() == [1]
    assert adapter.config.complete("yoga.") == "a photo of a yoga."


@on(VITA)
def test_vita_clip_holds_everything(case: Case):
    report, out = convert(case, {"model": case.state()}, pretrained=None)
    assert report.missing == {}
    info = read_info(out)
    assert info.backbone["weights_sha256"] == "" and info.backbone["pretrained"] == "random"
    assert info.preprocessing["mean"] == list(CLIP_MEAN)
    assert info.preprocessing["resize_to"] == 32
    again = load_adapter(out, pretrained="random:5")
    first = load_adapter(out)
    video = case.tensors["input/video"].transpose(1, 2)
    with torch.no_grad():
        assert torch.equal(first.encode_video(video), again.encode_video(video))


@on(VITA)
def test_towers_equal_to_the_base_are_left_to_it(case: Case):
    whole, out = convert(case, {"model": case.state()}, pretrained=None)
    assert not set(whole.dropped.values()) & {"equal to the base weights"}
    base = case.folder / "base.safetensors"
    clip = {
        name.removeprefix("clip."): value
        for name, value in load_file(out).items()
        if name.startswith("clip.")
    }
    save_file(clip, base)
    lean, out = convert(case, {"model": case.state()}, pretrained=str(base))
    stored = load_file(out)
    assert not any(name.startswith("clip.") for name in stored)
    assert lean.dropped["visual.cls_token"] == "equal to the base weights"
    assert "visual.blocks.0.local_prompts" in lean.used
    adapter = load_adapter(out)
    frames = adapter.encode_frames(case.tensors["input/video"].transpose(1, 2))
    torch.testing.assert_close(frames, case.outputs["frame_features"], rtol=1e-5, atol=2e-5)
    with pytest.raises(WeightsError, match="base weights are not those"):
        load_adapter(out, pretrained="random")


@on(VITA)
def test_a_lacking_text_tower_comes_from_the_base(case: Case):
    state = {k: v for k, v in case.state().items() if "textual" not in k}
    state = {k: v for k, v in state.items() if "prompt_learner" not in k}
    with pytest.raises(UsageError, match=r"no text tower.*--pretrained openai"):
        convert(case, {"model": state}, pretrained=None)
    report, _ = convert(case, {"model": state}, pretrained="random:3")
    assert report.config["text_context"] == 0
    assert report.missing["clip.ln_final.weight"] == "text tower of the base weights 'random:3'"


# The classes of a class-specific context ----------------------------------------------------------


@on(VITA)
def test_class_names_are_found_again_in_the_file(case: Case):
    _, out = convert(case, {"model": case.state()}, pretrained=None)
    names = [name.replace("_", " ").lower() for name in case.meta["classes"]]
    assert read_info(out).classes == names


@on(VITA)
def test_given_class_names_are_checked_against_the_file(case: Case):
    classes = case.meta["classes"]
    _, out = convert(case, {"model": case.state()}, pretrained=None, classes=classes)
    assert read_info(out).classes == classes
    with pytest.raises(WeightsError, match="class 0 has another name"):
        convert(case, None, pretrained=None, classes=classes[::-1])
    with pytest.raises(UsageError, match="another number of classes"):
        convert(case, None, pretrained=None, classes=classes[1:])


@on(VITA)
def test_class_names_have_to_be_given_where_the_file_does_not_tell(case: Case):
    state = {k: v for k, v in case.state().items() if "token_suffix" not in k}
    with pytest.raises(UsageError, match="name the classes"):
        convert(case, {"model": state}, pretrained=None)
    convert(case, None, pretrained=None, classes=case.meta["classes"])


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [PROMPTED, VITA, X_CLIP], indirect=True)
@pytest.mark.parametrize("name", ["surprise.weight", "visual.surprise", "image_encoder.surprise"])
def test_an_unknown_tensor_is_an_error(case: Case, name: str):
    with pytest.raises(WeightsError, match=f"does not have; found .*{name}"):
        convert(case, {"model": case.state() | {f"module.{name}": torch.zeros(2)}})


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (X_CLIP, "mit.positional_embedding"),
        (X_CLIP, "prompts_visual_proj"),
        (X_CLIP, "visual.transformer.resblocks.1.message_fc.bias"),
        (X_CLIP, "visual.transformer.resblocks.1.ln_1.bias"),
        (VITA, "module.visual.blocks.0.attn.q_proj.weight"),
        (VITA, "module.visual.blocks.1.cls_proj.bias"),
        (VITA, "module.logit_scale"),
        (PROMPTED, "module.prompt_learner.ctx"),
    ],
    indirect=["case"],
)
def test_a_missing_part_is_an_error(case: Case, name: str):
    state = case.state()
    del state[name]
    if name.endswith("ctx"):
        state |= {"module.text_encoder.transformer.resblocks.1.VPT_shallow": torch.zeros(2, 64)}
    with pytest.raises((WeightsError, UsageError), match=r"lacks|missing|not hold everything"):
        convert(case, {"model": state})


@on(PROMPTED)
def test_vifi_clip_needs_the_base_for_its_token_table(case: Case):
    with pytest.raises(UsageError, match=r"no token embedding table.*--pretrained openai"):
        convert(case, {"model": case.state()}, pretrained=None)


@on(X_CLIP)
def test_another_architecture_is_an_error(case: Case):
    case.meta["arch"]["patch_size"] = 16
    case.write_architecture()
    with pytest.raises(WeightsError, match="wrong shape"):
        convert(case, {"model": case.state()})


@pytest.mark.parametrize(
    ("case", "name", "shape"),
    [
        (X_CLIP, "mit.positional_embedding", ()),
        (X_CLIP, "text_projection", (3,)),
        (VITA, "module.visual.time_embed", (3,)),
        (VITA, "module.visual.patch_embed.proj.bias", (7,)),
        (VITA, "module.visual.blocks.0.attn.q_proj.weight", (64,)),
        (PROMPTED, "module.image_encoder.VPT", (64,)),
        (PROMPTED, "module.prompt_learner.ctx", ()),
    ],
    indirect=["case"],
)
def test_another_shape_is_an_error(case: Case, name: str, shape: tuple[int, ...]):
    with pytest.raises(WeightsError, match=r"shape|fit"):
        convert(case, {"model": case.state() | {name: torch.zeros(shape)}})


@on(X_CLIP)
def test_a_backbone_without_quick_gelu_is_an_error(case: Case):
    path = case.folder / "backbones" / f"{case.backbone_name}.json"
    path.write_text(path.read_text().replace('"quick_gelu": true', '"quick_gelu": false'))
    with pytest.raises(WeightsError, match="no QuickGELU"):
        convert(case, {"model": case.state()})


@on(X_CLIP)
def test_the_kind_is_checked(case: Case):
    report, _ = convert(case, {"model": case.state()}, kind="x-clip")
    assert report.method == "x-clip"
    with pytest.raises(WeightsError, match="released Vita-CLIP does not have"):
        convert(case, None, kind="vita-clip")
    with pytest.raises(UsageError, match="did you mean 'x-clip'"):
        convert(case, None, kind="xclip")


@on(X_CLIP)
def test_plain_clip_weights_are_no_released_checkpoint(case: Case):
    clip = load_backbone(case.backbone_name, "random").clip.state_dict()
    with pytest.raises(WeightsError, match="no released checkpoint of a known method"):
        convert(case, clip)


@on(X_CLIP)
@ZIP
def test_a_truncated_file_is_an_error(case: Case, as_zip: bool):
    source = case.folder / "source.pth"
    torch.save({"model": case.state()}, source, _use_new_zipfile_serialization=as_zip)
    source.write_bytes(source.read_bytes()[:100_000])
    with pytest.raises(WeightsError, match="cannot be read"):
        convert(case, None)


# Pickles ------------------------------------------------------------------------------------------


def pickled_settings(values: dict[str, Any]) -> Any:
    """A config node as yacs makes it: a dict with attributes, of a class that is not installed."""
    node = sys.modules["yacs.config"].CfgNode()
    for key, value in values.items():
        node[key] = pickled_settings(value) if isinstance(value, dict) else value
    node.__dict__.update(__immutable__=True, __deprecated_keys__=set(), __new_allowed__=False)
    return node


@pytest.fixture
def yacs(monkeypatch: pytest.MonkeyPatch):
    """The module as pickle sees it while the file is written; gone while it is read."""
    package, module = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    module.CfgNode = type("CfgNode", (dict,), {"__module__": "yacs.config"})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "yacs", package)
        patch.setitem(sys.modules, "yacs.config", module)
        yield patch


@on(PROMPTED)
@ZIP
def test_a_pickled_config_is_read_without_its_library(case: Case, as_zip: bool, yacs):
    settings = {"DATA": {"NUM_FRAMES": 16}, "TRAINER": {"ViFi_CLIP": {"CTX_INIT": "a film of"}}}
    content = {"model": case.state(), "epoch": 3, "config": pickled_settings(settings)}
    source = case.folder / "source.pth"
    torch.save(content, source, _use_new_zipfile_serialization=as_zip)
    yacs.undo()
    assert "yacs" not in sys.modules
    report, _ = convert(case, None)
    assert report.config["context_words"] == "a film of"
    assert "config" in report.dropped
    assert "yacs" not in sys.modules


class Hostile:
    """What a pickle would run if anybody let it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
@on(X_CLIP)
def test_nothing_that_a_pickle_asks_for_is_run(case: Case, form: str):
    mark, source = case.folder / "ran", case.folder / "source.pth"
    content = {"model": case.state(), "config": Hostile(mark)}
    if form == "bare":
        source.write_bytes(pickle.dumps({"config": Hostile(mark)}, protocol=2))
    else:
        torch.save(content, source, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(WeightsError):
        convert(case, None)
    with pytest.raises(WeightsError):
        read_tensor_file(source)
    assert not mark.exists()
    torch.load(source, weights_only=False) if form != "bare" else pickle.loads(source.read_bytes())
    assert mark.exists(), "the file was not hostile in the first place"
